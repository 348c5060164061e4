"""What the tabs share: the settings, the seed images, the buttons, the result, and how a request is wired to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component
from PIL import Image

from riffusion_space.schedulers import SCHEDULERS
from riffusion_space.seed_images import SeedImage, built_in
from riffusion_space.ui import picture

# The page's own wiring: no endpoint, no waiting in line.
PRIVATE: dict[str, Any] = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}

OTHER_AUDIO = [".webm", ".mp4", ".caf"]  # which browsers do not count as audio

WAVEFORM = gr.WaveformOptions(waveform_color="#8c7f66", waveform_progress_color="#c28f1f")

_RECOMMENDED, _NONE = "recommended", "none"

# While a request runs, Cancel and its progress stand where Generate was. The browser does that by itself.
_SHOW = "{__type__: 'update', visible: true}"
_HIDE = "{__type__: 'update', visible: false}"
# On a phone, what was made stands below the examples and the settings.
_SCROLL_TO_RESULT = """() => {
    const result = [...document.querySelectorAll('.result')].find((block) => block.offsetParent);
    setTimeout(() => result?.scrollIntoView({behavior: 'smooth', block: 'nearest'}), 100);
}"""
_BUSY, _IDLE = f"() => [{_HIDE}, {_SHOW}, {_SHOW}]", f"() => [{_SHOW}, {_HIDE}, {_HIDE}]"


@dataclass(frozen=True)
class Sampling:
    """Steps, guidance and scheduler; left blank, they are what the checkpoint recommends."""

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
        thumbnails = gr.Gallery(
            [(_thumbnail(seed), seed.name) for seed in seeds],
            show_label=False, columns=3, height="auto", allow_preview=False, interactive=False, buttons=[],
            elem_classes="seed-images",
        )
        choices = [_NONE, *((f"{seed.name}: {seed.description}, {seed.bpm:g} bpm", seed.name) for seed in seeds)]
        name = gr.Dropdown(choices, label="Built in")
        file = gr.File(label="Or of your own: a sound, or a spectrogram 512 pixels high",
                       file_types=["image", "audio", *OTHER_AUDIO], height=140)

        def choose(event: gr.SelectData) -> str:
            return seeds[event.index].name

        thumbnails.select(choose, None, name, **PRIVATE)
        return cls(name, file)


def _thumbnail(seed: SeedImage) -> Image.Image:
    with Image.open(seed.path) as image:
        return picture.thumbnail(image)


@dataclass(frozen=True)
class Result:
    """What was made. The components exist before they are placed, because settings further up refer to them."""

    sound: gr.Audio
    picture: gr.Image
    caption: gr.HTML
    settings: gr.JSON

    @classmethod
    def build(cls) -> Result:
        return cls(
            gr.Audio(label="Result", elem_classes="result", interactive=False, buttons=["download"],
                     waveform_options=WAVEFORM, render=False),
            spectrogram("Spectrogram of the result", render=False),
            gr.HTML(elem_classes="caption", visible=False, render=False),
            gr.JSON(label="Settings", show_label=False, render=False),
        )

    def render(self) -> None:
        self.sound.render()
        self.caption.render()
        self.picture.render()
        with gr.Accordion("Settings that make it again", open=False):
            self.settings.render()


def spectrogram(label: str, **options: Any) -> gr.Image:
    """A place for a picture from ``picture.draw``."""
    return gr.Image(label=label, alt_text=label, interactive=False, format="png", type="filepath", image_mode=None,
                    buttons=["download", "fullscreen"], elem_classes="spectrogram", **options)


def chosen(choice: str | None) -> str | None:
    """The pipeline's argument for a choice in a dropdown."""
    return None if choice in (_RECOMMENDED, _NONE) else choice


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


def clear_blank_numbers(app: gr.Blocks) -> None:
    """Show blank numbers as blank: a gr.Number that is None becomes 0 in the browser when it is first shown."""
    numbers = [block for block in app.blocks.values() if isinstance(block, gr.Number) and block.value is None]
    app.load(None, None, numbers, js=f"() => Array({len(numbers)}).fill('')", **PRIVATE)


def _blanks_to_null(inputs: Sequence[Component]) -> str:
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


def connect(
    task: Callable[..., Any], inputs: Sequence[Component], prompts: Sequence[gr.Textbox], result: Result
) -> str:
    """Place the buttons, and make ``task`` the endpoint of its name that they and Enter in a prompt call.

    Returns:
        JavaScript that presses the button, for examples.
    """
    name = task.__name__
    generate = gr.Button("Generate", variant="primary", size="lg", elem_id=f"{name}-generate")
    cancel = gr.Button("Cancel", variant="stop", size="lg", visible=False, elem_id=f"{name}-cancel")
    # A place of its own, so that neither progress nor an error covers what was made before.
    status = gr.HTML(visible=False, elem_classes="progress")
    buttons = [generate, cancel, status]
    triggers = [generate.click, *(prompt.submit for prompt in prompts)]
    gr.on(triggers, None, None, buttons, js=_BUSY, **PRIVATE)
    made = gr.on(
        triggers, task, inputs, [result.sound, result.picture, result.settings], js=_blanks_to_null(inputs),
        api_name=name, concurrency_id="device", show_progress_on=status,
    )
    made.success(_caption, result.settings, result.caption, **PRIVATE)
    made.success(None, None, None, js=_SCROLL_TO_RESULT, **PRIVATE)
    for ended in (made.then, made.failure):  # Gradio's page leaves out `then` after an error
        ended(None, None, buttons, js=_IDLE, **PRIVATE)
    cancel.click(None, None, buttons, js=_IDLE, cancels=made, **PRIVATE)
    return f"() => document.getElementById('{name}-generate')?.click()"


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
