"""The tab that says how it works, what the settings mean, and under which licences."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import gradio as gr

from riffusion_space.seed_images import SEED_IMAGES_DIR

_PICTURES = SEED_IMAGES_DIR.parent / "about"  # made by scripts/about_pictures.py
_TEXT = Path(__file__).with_suffix(".html")

# Gradio opens its page on the API from the footer alone, not when a page is loaded at the address that it then has.
_OPEN_API_PAGE = """
element.querySelector(".call").addEventListener("click", (event) => {
    event.preventDefault();
    document.querySelector("footer .show-api").click();
});
"""


def build() -> None:
    """Place the text and its pictures."""
    gr.set_static_paths([_PICTURES])
    waveform = (_PICTURES / "waveform.svg").read_text(encoding="utf-8")  # inline, so that it has the text's colour
    folder = f"gradio_api/file={quote(str(_PICTURES))}"  # relative: the page may be served below another address
    gr.HTML(_TEXT.read_text(encoding="utf-8").format(folder=folder, waveform=waveform), js_on_load=_OPEN_API_PAGE)
