"""What the tabs share: the settings, the seed images, the buttons, the result, and how a request is wired to them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components import Component
from PIL import Image

from riffusion_space.schedulers import SCHEDULERS
from riffusion_space.seed_images import SeedImage, built_in
from riffusion_space.ui import picture
from riffusion_space.ui.loops import hear_loop
from riffusion_space.ui.player import FROM_FILES, player

if TYPE_CHECKING:
    from riffusion_space.ui.worker import Worker

# The page's own wiring: no endpoint, no waiting in line.
PRIVATE: dict[str, Any] = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}

OTHER_AUDIO = [".webm", ".mp4", ".caf"]  # which browsers do not count as audio

WAVEFORM = gr.WaveformOptions(waveform_color="#8c7f66", waveform_progress_color="#c28f1f")

_VARIATIONS = 4  # as many as stand side by side

_RECOMMENDED, NONE = "recommended", "none"  # choices that stand for None

# While a request runs, Cancel and its progress stand where Generate was. The browser does that by itself.
_SHOW = "{__type__: 'update', visible: true}"
_HIDE = "{__type__: 'update', visible: false}"
# On a phone, what was made stands below the examples and the settings. It is scrolled to, if its tab is open, once it
# no longer moves: what is above it goes away, and itself it grows, in steps of Gradio's own.
_SCROLL_TO_RESULT = """() => {
    const buttons = ['ID-generate', 'ID-cancel'].map((id) => document.getElementById(id));
    const result = buttons.find(Boolean)?.closest('.tabitem')?.querySelector('.result');
    if (!result?.offsetParent) return;
    let place, still = 0;
    const look = setInterval(() => {
        const {top, height} = result.getBoundingClientRect();
        const now = `${top + window.scrollY} ${height}`;
        still = now === place ? still + 1 : 0;
        place = now;
        if (still < 3) return;
        clearInterval(look);
        result.scrollIntoView({behavior: 'smooth', block: 'nearest'});
    }, 100);
}"""
# A button that is on its way back, because what it made before has just ended, is waited for.
_PRESS = """async () => {
    for (let tries = 0; tries < 50; tries += 1) {
        const button = document.getElementById('ID');
        if (button) return button.click();
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
}"""
# What is under way the page also remembers, for the case that its connection breaks (connection.py).
_BUSY = ("() => (window.riffusionConnection?.began('ID'), "
         f"[{_HIDE}, {_SHOW}, {_SHOW}, {{...{_SHOW}, value: ''}}, {{__type__: 'update', active: true}}])")
_IDLE = ("() => (window.riffusionConnection?.ended('ID'), "
         f"[{_SHOW}, {_HIDE}, {_HIDE}, {_HIDE}, {{__type__: 'update', active: false}}])")
_LOOK_S = 0.7


@dataclass(frozen=True)
class Sampling:
    """Steps, guidance and scheduler, for all tabs; left blank, they are what the checkpoint recommends."""

    steps: gr.Number
    guidance: gr.Number
    scheduler: gr.Dropdown

    @classmethod
    def build(cls) -> Sampling:
        with gr.Row():
            steps = blank_number("Steps", _RECOMMENDED, precision=0, min_width=120)
            guidance = blank_number("Guidance", _RECOMMENDED, min_width=120)
            scheduler = gr.Dropdown([_RECOMMENDED, *SCHEDULERS], label="Scheduler", min_width=120)
        return cls(steps, guidance, scheduler)


@dataclass(frozen=True)
class SeedImagePicker:
    """Chooses the loop under a piece: a built-in seed image, or a picture or sound of one's own."""

    name: gr.Dropdown
    file: gr.File

    @classmethod
    def build(cls) -> SeedImagePicker:
        seeds = built_in()
        thumbnails = seed_thumbnails(seeds)
        choices = [NONE, *((f"{seed.name}: {seed.description}, {seed.bpm:g} bpm", seed.name) for seed in seeds)]
        name = gr.Dropdown(choices, label="Built in")
        heard = player("Loop", "Spectrogram of the loop", save=False, visible=False, elem_classes="small")
        name.change(hear_loop, name, heard, **PRIVATE)
        file = gr.File(label="Or of your own: a sound, or a spectrogram 512 pixels high",
                       file_types=["image", "audio", *OTHER_AUDIO], height=140)

        def choose(event: gr.SelectData) -> str:
            return seeds[event.index].name

        thumbnails.select(choose, None, name, **PRIVATE)
        return cls(name, file)


def seed_thumbnails(seeds: Sequence[SeedImage]) -> gr.Gallery:
    """Small pictures of loops, to select one by its index."""
    return gr.Gallery(
        [(_thumbnail(seed), seed.name) for seed in seeds],
        show_label=False, columns=3, height="auto", allow_preview=False, interactive=False, buttons=[],
        elem_classes="seed-images",
    )


def _thumbnail(seed: SeedImage) -> Image.Image:
    with Image.open(seed.path) as image:
        return picture.thumbnail(image)


@dataclass
class Result:
    """What was made. The components exist before they are placed, because settings further up refer to them.

    The page shows the player; the sound and its picture are what the endpoints give, and what it plays. What is made
    without the model has no settings. ``actions`` is a place for what can be done with it, there once there is a
    result; ``made`` the event that makes one.
    """

    player: gr.HTML
    sound: gr.Audio
    picture: gr.Image
    actions: gr.Row
    settings: gr.JSON | None = None
    caption: gr.HTML | None = None
    made: gr.events.Dependency | None = None

    @classmethod
    def build(cls, alt: str = "Spectrogram of the result", with_settings: bool = True) -> Result:
        result = cls(
            player("Result", alt, elem_classes="result", render=False),
            *unseen("Result", alt, render=False),
            gr.Row(visible=False, render=False, elem_classes="actions"),
        )
        if with_settings:
            result.caption = gr.HTML(elem_classes="caption", visible=False, render=False)
            result.settings = gr.JSON(label="Settings", show_label=False, render=False)
        return result

    @property
    def outputs(self) -> list[Component]:
        """What the task that makes it gives."""
        return [self.sound, self.picture, *([self.settings] if self.settings else [])]

    def render(self) -> None:
        self.player.render()
        if self.caption:
            self.caption.render()
        self.actions.render()
        self.sound.render()
        self.picture.render()
        if self.settings:
            with gr.Accordion("Settings that make it again", open=False):
                self.settings.render()

    def follow(self, made: gr.events.Dependency) -> None:
        """Show what ``made`` makes."""
        self.made = made
        made.success(None, self.outputs, self.player, js=FROM_FILES, **PRIVATE)
        made.success(None, None, self.actions, js=f"() => ({_SHOW})", **PRIVATE)
        if self.settings:
            made.success(_caption, self.settings, self.caption, **PRIVATE)


@dataclass(frozen=True)
class Tab:
    """What a tab shares with the rest of the page.

    ``fields`` are its inputs by the names that the settings of a result give them; ``takes`` is where a sound that
    comes from another tab goes, ``folded`` what hides that, and ``closed`` is called for a page that was closed.
    """

    task: str
    fields: dict[str, Component]
    takes: gr.Audio | gr.File
    result: Result | None
    words: gr.HTML | None = None
    folded: gr.Accordion | None = None
    closed: Callable[[gr.Request], None] | None = None

    @classmethod
    def of(cls, task: Callable[..., Any], inputs: Sequence[Component], takes: gr.Audio | gr.File, result: Result,
           words: gr.HTML | None, folded: gr.Accordion | None = None, **fields: Component) -> Tab:
        """From an endpoint's function and its inputs; ``fields`` are those that are behind an unseen input."""
        named = dict(zip(inspect.signature(task).parameters, inputs))
        seen = {name: field for name, field in named.items() if not isinstance(field, (gr.Audio, gr.File, gr.JSON))}
        return cls(task.__name__, seen | fields, takes, result, words, folded)


def spectrogram(label: str, **options: Any) -> gr.Image:
    """A place for a picture from ``picture.draw``."""
    return gr.Image(label=label, alt_text=label, interactive=False, format="png", type="filepath", image_mode=None,
                    buttons=["download", "fullscreen"], elem_classes="spectrogram", **options)


def unseen(label: str, picture_label: str, **options: Any) -> tuple[gr.Audio, gr.Image]:
    """What an endpoint gives, where the page shows a :func:`player` of it."""
    return (gr.Audio(label=label, interactive=False, visible=False, **options),
            spectrogram(picture_label, visible=False, **options))


def chosen(choice: str | None) -> str | None:
    """The pipeline's argument for a choice in a dropdown."""
    return None if choice in (_RECOMMENDED, NONE) else choice


def prompt_box(label: str, placeholder: str, **options: Any) -> gr.Textbox:
    """One line that grows; Enter submits it."""
    return gr.Textbox(label=label, placeholder=placeholder, lines=1, max_lines=4, **options)


def negative_prompt_box() -> gr.Textbox:
    return prompt_box("Negative prompt", "what to stay away from", value="")


def strength_slider(value: float, info: str) -> gr.Slider:
    return gr.Slider(0, 1, value, step=0.05, label="Strength", info=info)


def blank_number(label: str, placeholder: str, **options: Any) -> gr.Number:
    """A number that may stay blank, which is None; ``clear_blank_numbers`` has to know of it."""
    return gr.Number(label=label, placeholder=placeholder, **options)


def clear_blank_numbers(app: gr.Blocks) -> gr.events.Dependency:
    """Show blank numbers as blank: a gr.Number that is None becomes 0 in the browser when it is first shown."""
    numbers = [block for block in app.blocks.values() if isinstance(block, gr.Number) and block.value is None]
    return app.load(None, None, numbers, js=f"() => Array({len(numbers)}).fill('')", **PRIVATE)


def blanks_to_null(inputs: Sequence[Component]) -> str:
    """JavaScript that sends numbers shown as blank as None."""
    numbers = [index for index, component in enumerate(inputs) if isinstance(component, gr.Number)]
    return (
        f"(...values) => values.slice(0, {len(inputs)})"
        f".map((value, index) => {numbers}.includes(index) && value === '' ? null : value)"
    )


def seed_box(label: str, result: Result, key: str = "seed", placeholder: str = "random") -> gr.Number:
    """A seed, with buttons that empty it and that fetch the last result's; ``key`` is its name in the settings."""
    clear, reuse = gr.Button(placeholder.capitalize(), size="sm"), gr.Button("Last used", size="sm")
    seed = blank_number(label, placeholder, precision=0, buttons=[clear, reuse])
    clear.click(None, None, seed, js="() => ''", **PRIVATE)
    reuse.click(None, result.settings, seed, js=f"(settings) => settings?.{key} ?? ''", **PRIVATE)
    return seed


# Inputs, the output or outputs, and the JavaScript from these to those.
Before = tuple[Sequence[Component], Component | Sequence[Component], str]


@dataclass(frozen=True)
class Wired:
    """A request's event, the button that cancels it, and JavaScript that presses the one that makes it."""

    made: gr.events.Dependency
    cancel: gr.Button
    press: str


def wire(
    worker: Worker, task: Callable[..., Any], inputs: Sequence[Component], prompts: Sequence[gr.Textbox],
    outputs: Sequence[Component], label: str, before: Before | None = None, public: bool = True,
) -> Wired:
    """Place the buttons, and make ``task`` the endpoint of its name that they and Enter in a prompt call.

    ``before`` is what the browser does first, for an input that is made out of others. With ``public=False``
    the endpoint is the page's alone.
    """
    name = task.__name__
    generate = gr.Button(label, variant="primary", size="lg", elem_id=f"{name}-generate")
    cancel = gr.Button("Cancel", variant="stop", size="lg", visible=False, elem_id=f"{name}-cancel")
    # A place of its own, so that neither progress nor an error covers what was made before.
    with gr.Row(elem_classes="underway"):
        status = gr.HTML(visible=False, elem_classes="progress", min_width=160)
        sketch = gr.HTML(visible=False, elem_classes="sketch", min_width=120)
    looking = gr.Timer(_LOOK_S, active=False)

    def preview(request: gr.Request) -> str:
        return worker.preview(name, request)

    looking.tick(preview, None, sketch, **PRIVATE)
    buttons = [generate, cancel, status, sketch, looking]
    triggers = [generate.click, *(prompt.submit for prompt in prompts)]
    idle = _IDLE.replace("ID", name)
    gr.on(triggers, None, None, buttons, js=_BUSY.replace("ID", name), **PRIVATE)
    # The worker has a line of its own, which everybody is let into.
    call = {"fn": task, "inputs": inputs, "outputs": outputs, "js": blanks_to_null(inputs), "api_name": name,
            "concurrency_limit": None, "show_progress_on": status,
            "api_visibility": "public" if public else "private"}
    if before is None:
        made = gr.on(triggers, **call)
    else:
        made = gr.on(triggers, None, *before[:2], js=before[2], **PRIVATE).then(**call)
    made.success(None, None, None, js=_SCROLL_TO_RESULT.replace("ID", name), **PRIVATE)
    for ended in (made.then, made.failure):  # Gradio's page leaves out `then` after an error
        ended(None, None, buttons, js=idle, **PRIVATE)
    cancel.click(None, None, buttons, js=idle, cancels=made, **PRIVATE)
    return Wired(made, cancel, _PRESS.replace("ID", f"{name}-generate"))


def connect(
    worker: Worker, task: Callable[..., Any], inputs: Sequence[Component], prompts: Sequence[gr.Textbox],
    result: Result, seed: gr.Number, before: Before | None = None,
) -> str:
    """Like :func:`wire`, for a task of the pipeline and its result. JavaScript that presses the button."""
    wired = wire(worker, task, inputs, prompts, result.outputs, "Generate", before)
    result.follow(wired.made)
    _vary(wired, result, seed)
    return wired.press


def _vary(wired: Wired, result: Result, seed: gr.Number) -> None:
    """A button that does the same again with other seeds, one after the other; each joins the visitor's results."""
    to_come = gr.Number(0, visible=False)
    with result.actions:
        vary = gr.Button(f"{_VARIATIONS} variations", size="sm", min_width=0, scale=0)
    vary.click(None, None, [to_come, seed], js=f"() => [{_VARIATIONS}, '']", **PRIVATE).then(
        None, None, None, js=wired.press, **PRIVATE)
    wired.made.success(None, to_come, to_come, **PRIVATE, js=f"""(left) => {{
        if (left > 1) ({wired.press})();
        return Math.max(left - 1, 0);
    }}""")
    for ended in (wired.made.failure, wired.cancel.click):
        ended(None, None, to_come, js="() => 0", **PRIVATE)


def examples(rows: list[list[Any]], inputs: Sequence[Component], press: str, labels: list[str] | None = None) -> None:
    """Examples that fill in ``inputs`` and press the button."""
    shown = gr.Examples(rows, list(inputs), label="Try", example_labels=labels, examples_per_page=20,
                        api_visibility="private")
    shown.load_input_event.then(None, None, None, js=press, **PRIVATE)


def _caption(settings: dict[str, Any]) -> dict[str, Any]:
    seeds = " to ".join(str(settings[key]) for key in ("seed", "seed_b") if settings.get(key) is not None)
    steps = settings["steps"]
    facts = (f"{steps} step{'s' * (steps > 1)}", f"guidance {settings['guidance']:g}", settings["scheduler"])
    return gr.update(value=f"<strong>Seed {seeds}</strong> · " + " · ".join(facts), visible=True)
