"""What goes from one tab to another: a sound that was made, and the settings that made it.

The browser does it by itself (exchange.js), so that it is there at once.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from riffusion_space.seed_images import names
from riffusion_space.ui.components import NONE, PRIVATE, Result, Sampling, Tab
from riffusion_space.ui.original import example_files
from riffusion_space.ui.scripted import scripted
from riffusion_space.ui.send import send
from riffusion_space.ui.sentences import language_of, said

# Choices that stand for None.
_NO_CHOICE = {"scheduler": "recommended", "seed_image": "none", "key": "none"}
_LONGEST_NAME = 100


class Exchange:
    """Sets tabs and what is in them.

    ``outputs`` is what the JavaScript ``window.riffusion.go({settings})`` and ``go({task, sound})`` gives values for:
    the first opens the tab of the task that the settings name and fills them in, the second puts a sound there, a file
    as Gradio's page knows it.
    """

    def __init__(self, tabs: gr.Tabs, placed: Sequence[Tab], sampling: Sampling,
                 titles: Mapping[str, str], notice: gr.HTML) -> None:
        """``notice`` is the place that tells which files are needed."""
        self.titles, self._notice = titles, notice
        shared = {"steps": sampling.steps, "guidance": sampling.guidance, "scheduler": sampling.scheduler}
        fields = [(None, name, field) for name, field in shared.items()]
        fields += [(tab.task, name, field) for tab in placed for name, field in tab.fields.items()
                   if name not in shared]
        facts = {
            "tasks": [tab.task for tab in placed],
            "fields": [_facts(*field) for field in fields],
            "folded": [tab.task for tab in placed if tab.folded],
            "sounds": [{"task": tab.task, "name": name, "choices": [NONE, *names()] if name == "seed_image" else []}
                       for tab in placed for name in tab.sounds],
        }
        self._sounds = {(tab.task, name): place for tab in placed for name, place in tab.sounds.items()}
        self._needed = gr.JSON(visible=False)
        self.outputs: list[Component] = [tabs, *(field for _, _, field in fields), *(tab.takes for tab in placed),
                                         *(tab.folded for tab in placed if tab.folded), self._needed]
        scripted(__file__, facts, visible="hidden")
        gr.on([place.upload for place in self._sounds.values()], None, None, notice, **PRIVATE,
              js="() => ({__type__: 'update', visible: false})")

    def place_actions(self, result: Result) -> None:
        """Under a result, the way into the tabs, and a link to copy."""
        with result.actions:
            way = send(self.titles)
            self._go(way.select, [way, result.sound], "({to}, sound) => window.riffusion.go({task: to, sound})")
            if result.settings:
                copy = gr.Button("Copy link", size="sm", min_width=0, scale=0)
                copied = copy.click(None, result.settings, copy, js="window.riffusion.copyLink", **PRIVATE)
                copied.then(None, None, copy, js="window.riffusion.copiedLink", **PRIVATE)

    def follow(self, trigger: Any, source: Component, value: str = "(settings) => ({settings})") -> None:
        """On an event, go where ``source`` says; ``value`` is JavaScript from its value to what ``go`` takes."""
        self._go(trigger, source, f"(source) => window.riffusion.go(({value})(source))")

    def open_link(self, loaded: gr.events.Dependency) -> None:
        """After ``loaded``, fill in what the page's own address asks for."""
        self._go(loaded.then, None, """async () => {
            while (!window.riffusion) await new Promise((resolve) => setTimeout(resolve, 50));
            if (window.riffusionConnection?.isBack) return window.riffusion.go({}); // with what is newer than that
            return window.riffusion.go({settings: Object.fromEntries(new URLSearchParams(location.search))});
        }""")

    def _go(self, trigger: Any, inputs: Component | Sequence[Component] | None, js: str) -> None:
        """On an event, set what the JavaScript says; of the files that it needs, the examples are brought."""
        trigger(None, inputs, self.outputs, js=js, trigger_mode="multiple", **PRIVATE).then(
            self._bring, self._needed, [self._notice, *self._sounds.values()], **PRIVATE)

    def _bring(self, needed: list[list[str]] | None, request: gr.Request) -> list[Any]:
        """A sentence on files that settings name, and the built-in examples among them."""
        examples = {Path(file).name: file for file in example_files()}
        brought, missing = {}, []
        for task, name, file in needed or []:
            if file in examples:  # which is put where Gradio may send it from
                brought[task, name] = save_file_to_cache(examples[file], get_upload_folder())
            else:
                missing.append(repr(file[:_LONGEST_NAME]))
        told = html.escape(said(f"This still needs {', '.join(missing)}.", language_of(request)))
        notice = gr.update(value=f'<p role="status">{told}</p>', visible=True) if missing else gr.update(visible=False)
        return [notice, *(brought.get(place, gr.skip()) for place in self._sounds)]


def _facts(task: str | None, name: str, field: Component) -> dict[str, Any]:
    """What exchange.js has to know of a field, of all tasks or of one: what fits into it, and what it holds if none."""
    facts: dict[str, Any] = {"task": task, "name": name, "kind": "text",
                             "otherwise": "" if field.value is None else field.value}
    if isinstance(field, (gr.Number, gr.Slider)):
        facts["kind"] = "number"
    elif isinstance(field, gr.Checkbox):
        facts["kind"] = "boolean"
    elif isinstance(field, gr.HTML):  # a component of the page's own, which stays as it is where there is none
        facts["kind"] = name
    elif isinstance(field, gr.JSON):
        facts["kind"] = "regions"
    elif isinstance(field, (gr.Dropdown, gr.Radio)):
        facts |= {"kind": "choice", "choices": [value for _, value in field.choices]}
        facts["otherwise"] = _NO_CHOICE.get(name, field.value)
    return facts
