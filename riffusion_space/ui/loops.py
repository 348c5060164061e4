"""The built-in loops as sound, for those who choose one."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache, save_pil_to_cache
from gradio.utils import get_upload_folder

from riffusion_space.audio import write_audio
from riffusion_space.images import read_image
from riffusion_space.seed_images import SeedImage, built_in
from riffusion_space.ui import picture
from riffusion_space.ui.player import playing


def hear_loop(name: str | None) -> dict[str, Any]:
    """An update for a player: it shows the built-in loop of that name, or hides where there is none."""
    loop = next((seed for seed in built_in() if seed.name == name), None)
    if loop is None:
        return gr.update(value=None, visible=False)
    folder = get_upload_folder()
    sound, seconds = _decoded(loop)
    # Written each time, at the same address: old files there are deleted.
    path = save_bytes_to_cache(sound, f"{name}.wav", folder)
    drawn = save_pil_to_cache(picture.draw(read_image(loop.path)), folder, f"{name}-spectrogram", "png")
    return gr.update(value={**playing(path, drawn, seconds), "bpm": loop.bpm}, visible=True)


@cache
def _decoded(loop: SeedImage) -> tuple[bytes, float]:
    """A WAV file of the loop, and its seconds. It takes about one, and half a megabyte to keep."""
    from riffusion_space.codec import decode  # which imports torch

    wave = decode(read_image(loop.path)).normalized()
    with tempfile.TemporaryDirectory() as folder:
        return write_audio(wave, Path(folder) / "loop.wav").read_bytes(), wave.duration_s
