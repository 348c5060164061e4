"""The tab that says how it works, what the settings mean, and under which licences."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import gradio as gr

from riffusion_space.config import ASSETS

_PICTURES = ASSETS / "about"  # made by scripts/about_pictures.py
_TEXTS = tuple(Path(__file__).with_suffix(suffix) for suffix in (".html", ".de.html"))  # English first

# The visitor's language, if it is spoken here. And Gradio opens its page on the API from the footer alone, not when a
# page is loaded at the address that it then has.
_SCRIPT = """
const texts = [...element.querySelectorAll(".about")];
const spoken = texts.find((text) => text.lang === navigator.language.slice(0, 2)) ?? texts[0];
for (const text of texts) text.hidden = text !== spoken;
for (const call of element.querySelectorAll(".call")) {
    call.addEventListener("click", (event) => {
        event.preventDefault();
        document.querySelector("footer .show-api").click();
    });
}
"""


def build() -> None:
    """Place the text and its pictures."""
    gr.set_static_paths([_PICTURES])
    waveform = (_PICTURES / "waveform.svg").read_text(encoding="utf-8")  # inline, so that it has the text's colour
    folder = f"gradio_api/file={quote(str(_PICTURES))}"  # relative: the page may be served below another address
    article = "".join(text.read_text(encoding="utf-8") for text in _TEXTS)
    gr.HTML(article.format(folder=folder, waveform=waveform), js_on_load=_SCRIPT)
