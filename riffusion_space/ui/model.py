"""What plays, and on a deployment that lets its visitors, a choice of something else: another checkpoint, and LoRAs.

There is one model for everyone who uses the page: who changes it changes it for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from riffusion_space.config import Config
from riffusion_space.ui.components import PRIVATE
from riffusion_space.ui.loading import PipelineLoader
from riffusion_space.ui.scripted import scripted
from riffusion_space.ui.worker import sentence

if TYPE_CHECKING:
    from riffusion_space.pipeline import RiffusionPipeline

_CHECKPOINTS = ["auto", "embedded", "riffusion/riffusion-model-v1"]
_BEST = "the best there is"
_DEVICES = [_BEST, "cpu", "cuda", "mps"]  # or one of several GPUs, such as cuda:1
_LORA_SUFFIX = ".safetensors"
_MOST = 2.0  # of a LoRA, on the page: beyond it nothing sounds well
# As others on the page; in the queue, because only there does Gradio show an error's sentence.
_SENTENCES: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "model", "show_progress": "minimal"}


@dataclass(frozen=True)
class ModelPanel:
    """``plays`` shows what plays; ``outputs`` is all that takes what :meth:`shown` gives once it is loaded.

    Each of ``changed`` is an event that has loaded something, or taken it off.
    """

    plays: gr.HTML
    loras: tuple[gr.Dropdown, gr.Row] | tuple[()] = ()  # those that are there, and what is done with one
    changed: tuple[gr.events.Dependency, ...] = ()

    @property
    def outputs(self) -> list[gr.blocks.Block]:
        return [self.plays, *self.loras]

    def shown(self, pipeline: RiffusionPipeline) -> list[Any]:
        """What plays; and of its LoRAs the last one is chosen."""
        names = list(pipeline.lora_weights)
        choice = gr.update(choices=names, value=names[-1] if names else None)
        return [facts_of(pipeline), *([choice, gr.update(visible=bool(names))] if self.loras else [])]


def facts_of(pipeline: RiffusionPipeline) -> dict[str, Any]:
    """What plays, and what it recommends, for the page."""
    checkpoint, recommended = pipeline.checkpoint, pipeline.checkpoint.recommended
    return {
        "checkpoint": checkpoint.name, "revision": checkpoint.revision[:12],
        "device": f"{checkpoint.device}, {checkpoint.dtype_name}",
        "loras": [f"{name} × {weight:g}" for name, weight in pipeline.lora_weights.items()],
        "steps": recommended.steps, "guidance": f"{recommended.guidance:g}", "scheduler": recommended.scheduler,
    }


def build(loader: PipelineLoader, config: Config) -> ModelPanel:
    """Place what plays and, where ``config`` allows it, what changes that."""
    plays = scripted(__file__, {})
    return ModelPanel(plays, *(_choices(loader, config, plays) if config.change_model else ()))


def _choices(loader: PipelineLoader, config: Config,
             plays: gr.HTML) -> tuple[tuple[gr.Dropdown, gr.Row], tuple[gr.events.Dependency, ...]]:
    def pipeline() -> RiffusionPipeline:
        return loader.wait(lambda fraction, text: None)

    def load(name: str | None, device: str | None,
             progress: gr.Progress = gr.Progress()) -> None:  # noqa: B008  Gradio's way
        _in_a_sentence(lambda: loader.change(name or "", lambda fraction, text: progress(fraction, desc=text),
                                             None if device == _BEST else device))

    def add(source: str | None) -> str:
        if not (source or "").strip():
            raise gr.Error("Expected a LoRA: a Hub id such as owner/model, or a file or folder of this machine.",
                           print_exception=False)
        _in_a_sentence(lambda: pipeline().load_lora(source.strip()))
        return ""

    def weigh(name: str | None, weight: float) -> dict[str, Any]:
        if name:
            _in_a_sentence(lambda: pipeline().set_lora_weights({name: weight}))
        return facts_of(pipeline())

    def take_off(name: str | None) -> None:
        if name:
            _in_a_sentence(lambda: pipeline().unload_loras(name))

    def weight_of(name: str | None) -> float:
        return pipeline().lora_weights.get(name, 1.0)

    with gr.Accordion("Another checkpoint, LoRAs", open=False):
        gr.Markdown("What is loaded here plays for everyone who uses this page.")
        with gr.Row(elem_classes="with-button"):
            checkpoint = gr.Dropdown(_CHECKPOINTS, value=config.checkpoint, label="Checkpoint", min_width=220,
                                     allow_custom_value=True, info="a name, a Hub id, or a folder of this machine")
            device = gr.Dropdown(_DEVICES, value=config.device or _BEST, label="Device", min_width=120,
                                 allow_custom_value=True, info="cuda:1 is the second GPU")
            load_it = gr.Button("Load", scale=0, min_width=120)
        with gr.Row(elem_classes="with-button"):
            source = gr.Textbox(label="Add a LoRA", placeholder="owner/model", lines=1, min_width=220,
                                info="a Hub id, or a file or folder of this machine")
            add_it = gr.Button("Add", scale=0, min_width=120)
            upload = gr.UploadButton("Upload a LoRA", file_types=[_LORA_SUFFIX], scale=0, min_width=160)
        with gr.Row(elem_classes="with-button", visible=False) as row:
            chosen = gr.Dropdown([], value=None, label="LoRA", min_width=160)
            weight = gr.Slider(-_MOST, _MOST, 1.0, step=0.05, label="Weight", info="0 is silent", min_width=220)
            off = gr.Button("Take it off", scale=0, min_width=120)

    weight.release(weigh, [chosen, weight], plays, **_SENTENCES)
    chosen.change(weight_of, chosen, weight, **PRIVATE)
    return (chosen, row), (
        load_it.click(load, [checkpoint, device], None, **_SENTENCES | {"show_progress": "full"},
                      show_progress_on=checkpoint),
        gr.on([add_it.click, source.submit], add, source, source, **_SENTENCES),
        upload.upload(add, upload, source, **_SENTENCES),
        off.click(take_off, chosen, None, **_SENTENCES),
    )


def _in_a_sentence(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except ValueError as error:
        raise gr.Error(sentence(error), print_exception=False) from error
