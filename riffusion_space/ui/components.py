"""What the tabs share: the settings, the seed images, the buttons, the result, and how a request is wired to them."""

from __future__ import annotations

import html
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components import Component
from gradio.context import Context
from PIL import Image

from riffusion_space.clip import prompts_of
from riffusion_space.schedulers import SCHEDULERS
from riffusion_space.seed_images import SeedImage, built_in
from riffusion_space.ui import picture
from riffusion_space.ui.loops import hear_loop
from riffusion_space.ui.player import FROM_FILES, player
from riffusion_space.ui.sentences import language_of, said

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
_BUSY = f"""() => (window.riffusionRun.begin('TASK', ASKED),
    [{_HIDE}, {_SHOW}, {_SHOW}, {{...{_SHOW}, value: ''}}, {{__type__: 'update', active: true}}])"""
_IDLE = f"""() => (window.riffusionRun.end('TASK'),
    [{_SHOW}, {_HIDE}, {_HIDE}, {_HIDE}, {{__type__: 'update', active: false}}])"""
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
    result; ``made`` the event that makes one, and ``makes`` are all that make any, each with what it gives.
    """

    player: gr.HTML
    sound: gr.Audio
    picture: gr.Image
    actions: gr.Row
    settings: gr.JSON | None = None
    caption: gr.HTML | None = None
    made: gr.events.Dependency | None = None
    makes: list[tuple[gr.events.Dependency, Sequence[Component]]] = field(default_factory=list)

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
        self.makes.append((made, self.outputs))
        made.success(None, self.outputs, self.player, js=FROM_FILES, **PRIVATE)
        made.success(None, None, self.actions, js=f"() => ({_SHOW})", **PRIVATE)
        if self.settings:
            made.success(_caption, self.settings, self.caption, **PRIVATE)


@dataclass(frozen=True)
class Tab:
    """What a tab shares with the rest of the page.

    ``fields`` are its inputs by the names that the settings of a result give them, ``sounds`` those that are files,
    of which settings only tell the names; ``takes`` is where a sound that comes from another tab goes, ``folded`` what
    hides that, and ``closed`` is called for a page that was closed.
    """

    task: str
    fields: dict[str, Component]
    takes: gr.Audio | gr.File
    result: Result | None
    words: gr.HTML | None = None
    folded: gr.Accordion | None = None
    closed: Callable[[gr.Request], None] | None = None
    sounds: dict[str, Component] = field(default_factory=dict)

    @classmethod
    def of(cls, task: Callable[..., Any], inputs: Sequence[Component], takes: gr.Audio | gr.File, result: Result,
           words: gr.HTML | None, folded: gr.Accordion | None = None, **fields: Component) -> Tab:
        """From an endpoint's function and its inputs; ``fields`` are those that are behind an unseen input."""
        named = dict(zip(inspect.signature(task).parameters, inputs))
        seen = {name: place for name, place in named.items() if not isinstance(place, (gr.Audio, gr.File, gr.JSON))}
        sounds = {name: place for name, place in named.items() if isinstance(place, gr.Audio) and place.visible}
        if "seed_file" in named:
            sounds["seed_image"] = named["seed_file"]
        return cls(task.__name__, seen | fields, takes, result, words, folded, sounds=sounds)


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
    """A request's event, JavaScript that presses the button that makes it, and the button that cancels it; ``busy``
    and ``idle`` have the page show whether something that an event began is under way.
    """

    made: gr.events.Dependency
    press: str
    cancel: gr.Button
    status: gr.HTML
    busy: Callable[..., Any]
    idle: Callable[..., Any]


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

    def busy(*triggers: Any, asked: bool = False) -> None:
        js = _BUSY.replace("TASK", name).replace("ASKED", json.dumps(asked))
        gr.on(triggers, None, None, buttons, js=js, **PRIVATE)

    def idle(made: gr.events.Dependency) -> None:
        for ended in (made.then, made.failure):  # Gradio's page leaves out `then` after an error
            ended(None, None, buttons, js=_IDLE.replace("TASK", name), **PRIVATE)
        cancel.click(None, None, buttons, js=_IDLE.replace("TASK", name), cancels=made, **PRIVATE)

    triggers = [generate.click, *(prompt.submit for prompt in prompts)]
    busy(*triggers, asked=True)
    # The worker has a line of its own, which everybody is let into.
    call = {"fn": task, "inputs": inputs, "outputs": outputs, "api_name": name, "concurrency_limit": None,
            "js": f"(...values) => window.riffusionRun.sent('{name}', ({blanks_to_null(inputs)})(...values))",
            "show_progress_on": status, "api_visibility": "public" if public else "private"}
    if before is None:
        made = gr.on(triggers, **call)
    else:
        made = gr.on(triggers, None, *before[:2], js=before[2], **PRIVATE).then(**call)
    made.success(None, None, None, js=f"() => {{ window.riffusionRun.made('{name}'); }}", **PRIVATE)
    idle(made)
    cancel.click(None, None, None, js=f"() => window.riffusionRun.drop('{name}')", **PRIVATE)
    return Wired(made, f"() => window.riffusionRun.press('{name}')", cancel, status, busy, idle)


def connect(
    worker: Worker, task: Callable[..., Any], inputs: Sequence[Component], prompts: Sequence[gr.Textbox],
    result: Result, seed: gr.Number, before: Before | None = None,
) -> str:
    """Like :func:`wire`, for a task of the pipeline and its result. JavaScript that presses the button."""
    wired = wire(worker, task, inputs, prompts, result.outputs, "Generate", before)
    result.follow(wired.made)
    _vary(wired, task, inputs, result, seed)
    return wired.press


def _vary(wired: Wired, task: Callable[..., Any], inputs: Sequence[Component], result: Result,
          seed: gr.Number) -> None:
    """A button that makes the result again with other seeds, one after the other; each joins the visitor's results.

    What the fields say by now does not matter.
    """
    name, names = task.__name__, list(inspect.signature(task).parameters)
    places = {"seed": list(inputs).index(seed)} | {each: names.index(each) for each in ("sections", "anew")
                                                   if each in names}
    outputs = [*unseen("Result", "Spectrogram of the result"), gr.JSON(visible=False)]
    next_one = gr.Button(visible="hidden", elem_id=f"{name}-vary")
    with result.actions:
        vary = gr.Button(f"{_VARIATIONS} variations", size="sm", min_width=0, scale=0)
    vary.click(None, None, None, js=f"() => window.riffusionRun.vary('{name}', {_VARIATIONS})", **PRIVATE)
    wired.busy(next_one.click)
    varied = next_one.click(task, inputs, outputs, js=f"() => window.riffusionRun.variation('{name}', {places})",
                            api_name=f"vary_{name}", api_visibility="private", concurrency_limit=None,
                            show_progress_on=wired.status)
    result.makes.append((varied, outputs))
    varied.success(None, outputs, [result.player, *result.outputs], **PRIVATE,
                   js=f"(...made) => window.riffusionRun.varied('{name}', ({FROM_FILES})(...made), made)",
                   ).then(_caption, result.settings, result.caption, **PRIVATE)
    varied.failure(None, None, None, js=f"() => window.riffusionRun.stop('{name}')", **PRIVATE)
    wired.idle(varied)


def examples(rows: list[list[Any]], inputs: Sequence[Component], press: str, labels: list[str] | None = None,
             ) -> gr.events.Dependency:
    """Examples that fill in ``inputs`` and press the button; the event that fills in."""
    shown = gr.Examples(rows, list(inputs), label="Try", example_labels=labels, examples_per_page=20,
                        api_visibility="private")
    shown.input_component_props = [{} for _ in shown.input_component_props]  # labels would come back in English
    # A click while another is under way counts as well, which gr.Examples does not offer.
    Context.root_block.fns[shown.load_input_event["id"]].trigger_mode = "always_last"
    shown.load_input_event.then(None, None, None, js=press, **PRIVATE)
    return shown.load_input_event


def _caption(settings: dict[str, Any], request: gr.Request) -> dict[str, Any]:
    """What was made and how, in the language of whoever made it."""
    title = " → ".join(prompts_of(settings))
    seeds = " to ".join(str(settings[key]) for key in ("seed", "seed_b") if settings.get(key) is not None)
    steps = settings["steps"]
    facts = (f"Seed {seeds}", f"{steps} step{'s' * (steps > 1)}", f"guidance {settings['guidance']:g}",
             settings["scheduler"])
    told = html.escape(said(" · ".join(facts), language_of(request)))
    return gr.update(value=f"<strong>{html.escape(title)}</strong> · {told}" if title else told, visible=True)
