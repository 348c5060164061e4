"""The app's Blocks, which look at a request's inputs before Gradio converts them.

A conversion would round 1.5 steps to 2, make a text of any prompt, and answer a wrong type with its own inner workings.
"""

from __future__ import annotations

import inspect
from typing import Any

import gradio as gr

from riffusion_space.arguments import WHOLE, check_arguments, limits
from riffusion_space.config import Config
from riffusion_space.ui.sentences import language_of, said
from riffusion_space.ui.texts import in_english
from riffusion_space.ui.worker import sentence

_PROMPTS = ("prompt", "prompt_a", "prompt_b", "negative_prompt")
_FILES = (gr.Audio, gr.File)


class CheckedBlocks(gr.Blocks):
    """Blocks whose public endpoints refuse a wrong type or a number out of range in one sentence, in the language of
    whoever asked.
    """

    def __init__(self, config: Config, **options: Any) -> None:
        super().__init__(**options)
        self._limits_config = config

    def get_api_info(self, *args: Any, **options: Any) -> Any:
        """As Gradio gives it, in English."""
        return in_english(super().get_api_info(*args, **options))

    async def process_api(self, *args: Any, request: Any = None, **options: Any) -> dict[str, Any]:
        """As Gradio does it: what it raises is what is shown."""
        try:
            return await super().process_api(*args, request=request, **options)
        except gr.Error as error:
            error.message = said(error.message, language_of(request))
            raise

    def validate_inputs(self, block_fn: Any, inputs: list[Any]) -> None:
        """Raise gr.Error for what an endpoint's function would not take; Gradio calls this before all else."""
        super().validate_inputs(block_fn, inputs)
        if block_fn.api_visibility != "public":
            return
        checked = {}
        for name, component, value in zip(inspect.signature(block_fn.fn).parameters, block_fn.inputs, inputs):
            if isinstance(component, _FILES) and value is not None and not _is_file(value):
                raise gr.Error(f"Expected {name} to be a file, uploaded or by its URL, got {value!r:.80}.",
                               print_exception=False)
            if name in _PROMPTS or name in limits(self._limits_config):
                whole = name in WHOLE and isinstance(value, float) and value.is_integer()
                checked[name] = int(value) if whole else value  # 8.0 is as good as 8
        try:
            check_arguments(self._limits_config, **checked)
        except ValueError as error:
            raise gr.Error(sentence(error), print_exception=False) from error


def _is_file(value: Any) -> bool:
    """Whether it is a file as Gradio's clients send it; where it may lie, Gradio checks."""
    return isinstance(value, dict) and isinstance(value.get("path"), str) \
        and value.get("meta") == {"_type": "gradio.FileData"}
