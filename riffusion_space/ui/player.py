"""A sound played on its spectrogram: a playhead, seeking, looping, and regions marked by dragging.

The browser's half is player.html, player.css and player.js, and what it shares with the canvas; nothing is built and
nothing is fetched from elsewhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from riffusion_space.seed_images import built_in
from riffusion_space.ui import picture
from riffusion_space.ui.chart import chart

# The tempo of a piece that was made over a built-in loop, which begins with a bar.
_TEMPOS = {seed.name: seed.bpm for seed in built_in()}

# JavaScript from the values of a gr.Audio, of a gr.Image with its picture, and of a gr.JSON with its settings, if any.
# The beats are those that were asked for: by number, in the prompt, or by a loop.
FROM_FILES = f"""(sound, picture, settings) => {{
    if (!sound || !picture) return null;
    const {{bpm, seed_image: loop, prompt = ''}} = settings ?? {{}};
    const [, named] = /(\\d+(?:\\.\\d+)?)\\s*(?:bpm|beats per minute)\\b/i.exec(prompt) ?? [];
    const title = window.riffusionRun.title(settings);
    return {{sound, picture, title, bpm: bpm ?? {json.dumps(_TEMPOS)}[loop] ?? (loop === null ? Number(named) : 0)}};
}}"""


def player(label: str, alt: str, bands: bool = False, save: bool = True, **options: Any) -> gr.HTML:
    """A place for a sound on its picture from ``picture.draw``.

    Its value is None or a dict: ``sound`` and ``picture``, files; perhaps ``seconds``, which not every sound says of
    itself, ``title``, and ``bpm``; and ``region``, what is marked: [start, end] in seconds, [start, end, low, high]
    with a band in Hz, or None; ``kept`` are others like it. ``select`` tells that a region was marked by hand.

    Args:
        label: stands above it.
        alt: what the picture shows, for those who do not see it.
        bands: dragging can mark a band as well as a time, and something is always marked.
        save: offer the sound for download.
        options: those of gr.HTML.
    """
    (left, top, right, bottom), (width, height) = picture.MARGINS, picture.PLOT
    facts = {
        "label": label, "alt": alt, "bands": bands, "save": save,
        "picture": {"left": left, "top": top, "right": right, "bottom": bottom, "width": width, "height": height},
    }
    return chart(__file__, facts, label=label, **options)


def playing(sound: str, drawn: str, seconds: float) -> dict[str, Any]:
    """A player's value for the paths of a sound and of its picture, both in Gradio's cache."""
    return {"sound": _file(sound), "picture": _file(drawn), "seconds": seconds}


def _file(path: str) -> dict[str, Any]:
    """A file to which Gradio adds its address."""
    return FileData(path=path, orig_name=Path(path).name).model_dump()
