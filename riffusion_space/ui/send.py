"""A choice of tabs to go on in with a result."""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr

from riffusion_space.ui.scripted import SELECT, scripted


def send(titles: Mapping[str, str]) -> gr.HTML:
    """Tabs by their titles. Once ``select`` tells that one was chosen, its value is ``{to: id}``."""
    return scripted(__file__, {"titles": dict(titles)}, shared=[SELECT], elem_classes="send")
