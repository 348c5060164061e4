"""The page: header, banner on the checkpoint, and the tabs."""

from __future__ import annotations

from typing import Any

import gradio as gr

from riffusion_space.config import Config
from riffusion_space.ui import audio2audio, interpolate, text2audio
from riffusion_space.ui.components import PRIVATE, clear_blank_numbers
from riffusion_space.ui.loading import PipelineLoader
from riffusion_space.ui.theme import MARK
from riffusion_space.ui.worker import Worker

_HOUR = 3600
_HEADER = f"""
<header class="masthead">
  {MARK.read_text(encoding="utf-8")}
  <div><h1>Riffusion</h1><p>Words become a spectrogram, the spectrogram becomes sound.</p></div>
</header>
"""


def build_app(loader: PipelineLoader, config: Config) -> gr.Blocks:
    """The app, ready to launch; ``loader`` may load the checkpoint at any time before or after."""
    worker = Worker(loader, config)
    with gr.Blocks(title="Riffusion", analytics_enabled=False, delete_cache=(_HOUR, 4 * _HOUR)) as app:
        gr.HTML(_HEADER)
        banner = gr.HTML(loader.state.banner)
        with gr.Tab("Text to audio"):
            tabs = [text2audio.build(worker)]
        with gr.Tab("Audio to audio"):
            tabs.append(audio2audio.build(worker))
        with gr.Tab("Interpolate"):
            tabs.append(interpolate.build(worker))

        def refresh() -> list[Any]:
            """The banner, and once the checkpoint is there what it recommends."""
            state = loader.state
            if state.pipeline is None:
                return [state.banner, gr.skip(), *(gr.skip() for _ in recommended)]
            advice = state.pipeline.checkpoint.recommended
            texts = [f"{advice.steps}", f"{advice.guidance:g}"] * len(tabs)
            return [state.banner, gr.Timer(active=False), *(gr.update(placeholder=text) for text in texts)]

        timer = gr.Timer(1)
        recommended = [component for tab in tabs for component in (tab.steps, tab.guidance)]
        gr.on([app.load, timer.tick], refresh, None, [banner, timer, *recommended], **PRIVATE)
        clear_blank_numbers(app)
        app.unload(worker.cancel_session)
    return app.queue(max_size=config.max_queue, default_concurrency_limit=1)
