"""What goes from one tab to another: a sound that was made, and the settings that made it.

The browser does it by itself (exchange.js), so that it is there at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

from riffusion_space.ui.components import PRIVATE, Result, Sampling, Tab
from riffusion_space.ui.scripted import scripted
from riffusion_space.ui.send import send

# Choices that stand for None.
_NO_CHOICE = {"scheduler": "recommended", "seed_image": "none", "key": "none"}


class Exchange:
    """Sets tabs and what is in them.

    ``outputs`` is what the JavaScript ``window.riffusion.go({settings})`` and ``go({task, sound})`` gives values for:
    the first opens the tab of the task that the settings name and fills them in, the second puts a sound there, a file
    as Gradio's page knows it.
    """

    def __init__(self, tabs: gr.Tabs, placed: Sequence[Tab], sampling: Sampling,
                 titles: Mapping[str, str]) -> None:
        self.titles = titles
        shared = {"steps": sampling.steps, "guidance": sampling.guidance, "scheduler": sampling.scheduler}
        fields = [(None, name, field) for name, field in shared.items()]
        fields += [(tab.task, name, field) for tab in placed for name, field in tab.fields.items()
                   if name not in shared]
        facts = {
            "tasks": [tab.task for tab in placed],
            "fields": [_facts(*field) for field in fields],
            "folded": [tab.task for tab in placed if tab.folded],
        }
        self.outputs: list[Component] = [tabs, *(field for _, _, field in fields), *(tab.takes for tab in placed),
                                         *(tab.folded for tab in placed if tab.folded)]
        scripted(__file__, facts, visible="hidden")

    def place_actions(self, result: Result) -> None:
        """Under a result, the way into the tabs, and a link to copy."""
        with result.actions:
            way = send(self.titles)
            way.select(None, [way, result.sound], self.outputs, **PRIVATE,
                       js="({to}, sound) => window.riffusion.go({task: to, sound})")
            if result.settings:
                copy = gr.Button("Copy link", size="sm", min_width=0, scale=0)
                copied = copy.click(None, result.settings, copy, js="window.riffusion.copyLink", **PRIVATE)
                copied.then(None, None, copy, js="window.riffusion.copiedLink", **PRIVATE)

    def follow(self, trigger: Any, source: Component, value: str = "(settings) => ({settings})") -> None:
        """On an event, go where ``source`` says; ``value`` is JavaScript from its value to what ``go`` takes."""
        trigger(None, source, self.outputs, js=f"(source) => window.riffusion.go(({value})(source))", **PRIVATE)

    def open_link(self, loaded: gr.events.Dependency) -> None:
        """After ``loaded``, fill in what the page's own address asks for."""
        loaded.then(None, None, self.outputs, **PRIVATE, js="""async () => {
            while (!window.riffusion) await new Promise((resolve) => setTimeout(resolve, 50));
            if (window.riffusionConnection?.isBack) return window.riffusion.go({}); // with what is newer than that
            return window.riffusion.go({settings: Object.fromEntries(new URLSearchParams(location.search))});
        }""")


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
