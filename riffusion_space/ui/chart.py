"""What the player and the canvas share of the browser's half: chart.css, and chart.js with the scale of frequency."""

from __future__ import annotations

from typing import Any

import gradio as gr

from riffusion_space.spectrogram import SpectrogramParams
from riffusion_space.ui.scripted import scripted


def chart(module: str, facts: dict[str, Any], **options: Any) -> gr.HTML:
    """A component out of a module's files, with what charts have in common.

    Args:
        module: the ``__file__`` of the module.
        facts: what its script finds as ``facts``; they never change.
        options: those of gr.HTML.
    """
    params = SpectrogramParams()
    mel = {"lowest": params.min_frequency, "highest": params.max_frequency, "bands": params.num_frequencies}
    return scripted(module, {**facts, "mel": mel}, shared=[__file__], container=True, **options)
