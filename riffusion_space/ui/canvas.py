"""A spectrogram to draw on: dark is loud, time runs to the right, low is at the bottom.

Its own rather than gr.ImageEditor, whose eraser leaves the background as it is, whose tools lie over the drawing on a
phone, and which has neither axes nor a keyboard. The browser's half is canvas.html, canvas.css and canvas.js.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from riffusion_space.images import is_stereo, read_image
from riffusion_space.seed_images import is_picture, load_seed_image
from riffusion_space.spectrogram import CLIP_COLUMNS, SpectrogramParams
from riffusion_space.ui.chart import chart

_PARAMS = SpectrogramParams()
SIZE = (CLIP_COLUMNS, _PARAMS.num_frequencies)
_PREFIX = "data:image/png;base64,"
_MOST_CHARACTERS = 4_000_000  # noise in four channels takes 1.4 million


def canvas(label: str, alt: str) -> gr.HTML:
    """A place to draw 5.12 s of sound. Its value is None, for a blank one, or what :func:`to_value` gives.

    Args:
        label: its name.
        alt: how it is used without a pointer, for those who do not see it.
    """
    facts = {"alt": alt, "columns": SIZE[0], "rows": SIZE[1], "power": _PARAMS.power_for_image,
             "seconds": SIZE[0] / _PARAMS.columns_per_second}
    return chart(__file__, facts, label=label)


def to_value(drawing: Image.Image) -> dict[str, str]:
    """The canvas's value for an image of its size."""
    data = io.BytesIO()
    drawing.save(data, "PNG")
    return {"drawing": _PREFIX + base64.b64encode(data.getvalue()).decode("ascii")}


def from_value(value: Any) -> Image.Image:
    """What is drawn, grey; what is transparent is white.

    Raises:
        ValueError: nothing is drawn, or the value is not one of a canvas.
    """
    if value in (None, ""):  # a page that has blanked it sends a text
        raise ValueError("expected something drawn: the canvas is white, which is silence")
    address = value.get("drawing") if isinstance(value, dict) else None
    if not isinstance(address, str) or not address.startswith(_PREFIX) or len(address) > _MOST_CHARACTERS:
        raise ValueError("expected a drawing as the page makes it")
    try:
        data = base64.b64decode(address.removeprefix(_PREFIX), validate=True)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            size = image.size
            drawing = _on_white(image).convert("L") if size == SIZE else None  # a larger one is not even read
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise ValueError("expected a drawing as the page makes it, got none or a damaged one") from error
    if drawing is None:
        raise ValueError(f"expected a drawing of {SIZE[0]} x {SIZE[1]} pixels, got {size[0]} x {size[1]}")
    if drawing.getextrema()[0] == 255:
        raise ValueError("expected something drawn: the canvas is white, which is silence")
    return drawing


def from_file(path: str | Path) -> Image.Image:
    """A file as something to draw on, grey, of the canvas's size.

    A picture as high as the canvas is a spectrogram: as much of it as there is place for is taken as it is, and a
    narrower one ends in silence. Left and right are mixed. Any other picture is stretched. What is transparent is
    white. Of a sound it is the spectrogram of the first 5.12 s; a shorter one is repeated.

    Raises:
        ValueError: the file is neither a picture nor a sound, is damaged, or too large.
    """
    if not is_picture(path):
        return load_seed_image(path, _PARAMS).convert("L")
    image = _on_white(read_image(path))
    if image.height != SIZE[1]:
        return image.convert("L").resize(SIZE, Image.Resampling.LANCZOS)
    silence = (0, 255, 255) if is_stereo(image) else "white"
    sheet = Image.new("RGB", SIZE, silence)
    sheet.paste(image, (0, 0))
    return load_seed_image(sheet, _PARAMS).convert("L")


def _on_white(image: Image.Image) -> Image.Image:
    """RGB without what a file says beside its pixels."""
    if image.mode not in ("RGB", "L") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba)
    return Image.fromarray(np.asarray(image.convert("RGB")))
