"""A page whose connection breaks: Gradio loads it anew, and here it comes back to where it was.

In the browser, connection.js notes what is set and puts it back. On the server, the worker does not cancel at once
what is made for a page that is gone (``Worker.left``): Gradio calls ``unload`` when the connection breaks, which may be
a tunnel as well as a closed tab, and takes the page for another one when it comes back. So each has its own ticket.
"""

from __future__ import annotations

from zlib import crc32

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from riffusion_space.ui.components import PRIVATE
from riffusion_space.ui.exchange import Exchange
from riffusion_space.ui.scripted import scripted
from riffusion_space.ui.worker import RESULT_KEPT_S, Worker

_LONGEST = 64  # of what a page says


def build(worker: Worker, app: gr.Blocks, tabs: gr.Tabs, exchange: Exchange, loaded: gr.events.Dependency) -> None:
    """After ``loaded``, put back what was there before the page was loaded anew; or else what its address asks for."""
    requests = [fn for fn in app.fns.values() if fn.api_name and fn.concurrency_limit is None]
    told = [*exchange.outputs, *(component for fn in requests for component in fn.inputs)]
    fields = list({each._id: each for each in told if isinstance(each, Component)}.values())
    # Another version of the page may have other fields, for which what was noted is not meant.
    kind = crc32(repr([(type(field).__name__, str(field.label), field._id) for field in fields]).encode())
    page = scripted(__file__, {"kind": kind, "keptSeconds": RESULT_KEPT_S,
                               "tabs": {fn.api_name: tab for fn in requests if (tab := _tab_of(fn.outputs))}})

    def arrived(event: gr.EventData, request: gr.Request) -> None:
        ticket, task = (str(event._data[name])[:_LONGEST] for name in ("ticket", "task"))
        worker.arrived(ticket, task, request.session_hash)

    page.note(None, fields, [], js="(...values) => window.riffusionConnection.note(values)", **PRIVATE)
    page.arrive(arrived, None, None, **PRIVATE).success(
        None, None, None, js="() => window.riffusionConnection.resume()", **PRIVATE)
    for tab in tabs.children:
        tab.select(None, None, None, js=f"() => window.riffusionConnection?.opened({tab.id!r})", **PRIVATE)
    back = loaded.then(None, None, [tabs, *fields], **PRIVATE, js=f"""async () => {{
        while (!window.riffusionConnection) await new Promise((resolve) => setTimeout(resolve, 50));
        return window.riffusionConnection.restored() ?? Array({1 + len(fields)}).fill({{__type__: 'update'}});
    }}""")
    exchange.open_link(back)
    back.then(None, None, None, js="() => window.riffusionConnection.arrive()", **PRIVATE)


def _tab_of(outputs: list[Block]) -> str | None:
    """The name of the tab that an event shows its result in."""
    place = outputs[0] if outputs else None
    while place is not None and not isinstance(place, gr.Tab):
        place = place.parent
    return place and place.id
