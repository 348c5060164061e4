"""The page: header, banner on the checkpoint, and the tabs."""

from __future__ import annotations

from typing import Any

import gradio as gr

from riffusion_space.config import Config
from riffusion_space.ui import (
    about,
    arrange,
    audio2audio,
    codec,
    connection,
    draw,
    extend,
    inpaint,
    interpolate,
    live,
    model,
    morph,
    running,
    shelf,
    text2audio,
)
from riffusion_space.ui.checked import CheckedBlocks
from riffusion_space.ui.components import PRIVATE, Sampling, clear_blank_numbers
from riffusion_space.ui.exchange import Exchange
from riffusion_space.ui.loading import PipelineLoader
from riffusion_space.ui.scripted import speaking
from riffusion_space.ui.sentences import language_of
from riffusion_space.ui.texts import translate
from riffusion_space.ui.theme import MARK
from riffusion_space.ui.words import groups
from riffusion_space.ui.worker import Worker

_HOUR = 3600
_LIGHT_EVENTS = 1000  # that may wait in Gradio's queue: uploads that are looked at, and the like
_TABS = (
    ("text2audio", "Text to audio", text2audio.build),
    ("audio2audio", "Audio to audio", audio2audio.build),
    ("interpolate", "Interpolate", interpolate.build),
    ("inpaint", "Inpaint", inpaint.build),
    ("extend", "Extend", extend.build),
    ("arrange", "Sections", arrange.build),
    ("morph", "Morph", morph.build),
    ("stream", "Live", live.build),
    ("codec", "Codec", codec.build),
    ("draw", "Draw", draw.build),
)
_HEADER = f"""
<header class="masthead">
  {MARK.read_text(encoding="utf-8")}
  <div><h1>Riffusion</h1><p>Words become a spectrogram, the spectrogram becomes sound.</p></div>
</header>
"""


def build_app(loader: PipelineLoader, config: Config) -> gr.Blocks:
    """The app, ready to launch; ``loader`` may load the checkpoint at any time before or after."""
    worker = Worker(loader, config)
    with CheckedBlocks(config, title="Riffusion", analytics_enabled=False, delete_cache=(_HOUR, 4 * _HOUR)) as app:
        gr.HTML(_HEADER, js_on_load=speaking(_HEADER))
        banner = gr.HTML(loader.state.banner)
        running.build()
        with gr.Accordion("Settings", open=False):
            panel = model.build(loader, config)
            sampling = Sampling.build()
        notice, placed = gr.HTML(visible=False, elem_classes="notice"), []
        with gr.Tabs() as tabs:
            for name, title, build in _TABS:
                with gr.Tab(title, id=name):
                    placed.append(build(worker, sampling))
            with gr.Tab("About"):
                about.build()
        exchange = Exchange(tabs, placed, sampling, {name: title for name, title, _ in _TABS}, notice)
        results = {tab.task: tab.result for tab in placed if tab.result}
        for result in results.values():
            exchange.place_actions(result)
        shelf.build(exchange, results)

        def refresh(request: gr.Request) -> list[Any]:
            """The banner, and once the checkpoint is there what it is, what it recommends and which words it knows."""
            state = loader.state
            shown = state.banner_in(language_of(request))
            if state.pipeline is None:
                return [shown, *(gr.skip() for _ in (timer, *words, *panel.outputs))]
            known = groups(state.pipeline.checkpoint.vocabulary)
            return [shown, gr.Timer(active=False), *(known for _ in words), *panel.shown(state.pipeline)]

        timer, words = gr.Timer(1), [tab.words for tab in placed if tab.words]
        for listen in (app.load, timer.tick, *(changed.success for changed in panel.changed)):
            listen(refresh, None, [banner, timer, *words, *panel.outputs], **PRIVATE)
        connection.build(worker, app, tabs, exchange, clear_blank_numbers(app))
        app.unload(worker.left)
        for tab in placed:
            if tab.closed:
                app.unload(tab.closed)
    translate(app)
    # What takes time waits in the worker's line. Gradio's queue is for the rest, which it would refuse when full.
    return app.queue(max_size=_LIGHT_EVENTS, default_concurrency_limit=config.requests_at_once)
