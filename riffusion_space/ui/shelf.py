"""What a visitor made, kept in the visitor's own browser: to play, compare, keep, download, or go on with.

The browser's half is shelf.html, shelf.css and shelf.js. Nothing of it is kept on the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from riffusion_space.clip import read_settings
from riffusion_space.ui import picture
from riffusion_space.ui.components import OTHER_AUDIO, PRIVATE, Result
from riffusion_space.ui.exchange import Exchange
from riffusion_space.ui.scripted import SELECT, TITLE, scripted
from riffusion_space.ui.worker import sentence

_OPEN_ID = "open-file"

# JavaScript from a result's components to a value of the shelf.
_ADDED = """(sound, picture, settings) =>
    sound && picture ? {added: {task: 'TASK', sound, picture, settings: settings || null}} : null"""


def shelf(titles: Mapping[str, str]) -> gr.HTML:
    """The visitor's results. Its value, from the page, is ``{added: ...}``, from the browser ``{go: ...}``.

    ``select`` tells that the visitor wants to go on with one; ``go`` is what ``Exchange`` takes. ``titles`` are those
    of the tabs that can be gone on in.
    """
    (left, top, right, bottom), (width, height) = picture.MARGINS, picture.PLOT
    return scripted(__file__, {
        "picture": {"left": left, "top": top, "right": right, "bottom": bottom, "width": width, "height": height},
        "titles": dict(titles), "open": _OPEN_ID,
    }, shared=[SELECT, TITLE])


def build(exchange: Exchange, results: Mapping[str, Result]) -> None:
    """Place the shelf, fill it with what the tabs make, by their tasks, and let its results go back into the tabs."""
    kept = shelf(exchange.titles)
    for task, result in results.items():
        for made, outputs in result.makes:
            made.success(None, outputs, kept, js=_ADDED.replace("TASK", task), **PRIVATE)
    exchange.follow(kept.select, kept, "({go}) => go")
    opener = gr.UploadButton("Open a file made here", file_types=["audio", "image", *OTHER_AUDIO], size="sm",
                             elem_id=_OPEN_ID)
    found = gr.JSON(visible=False)

    def settings_of(file: str) -> dict[str, Any]:
        """The settings inside a file, or a sentence on why there are none."""
        try:
            return read_settings(file)
        except ValueError as error:
            raise gr.Error(sentence(error), print_exception=False) from error

    # In the queue, although it takes no time: only there does Gradio show an error's sentence.
    read = opener.upload(settings_of, opener, found, api_visibility="private", show_progress="hidden")
    exchange.follow(read.success, found)
