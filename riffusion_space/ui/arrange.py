"""The tab that makes a piece of sections, and one of its sections anew."""

from __future__ import annotations

from typing import Any

import gradio as gr

from riffusion_space.arrangement import DEFAULT_BPM, ENERGIES, TRANSITIONS
from riffusion_space.tempo import KEYS, STEADINESS
from riffusion_space.ui.components import (
    NONE,
    PRIVATE,
    WAVEFORM,
    Result,
    Sampling,
    Tab,
    blank_number,
    chosen,
    connect,
    negative_prompt_box,
    seed_box,
)
from riffusion_space.ui.original import EXAMPLES_DIR
from riffusion_space.ui.timeline import timeline
from riffusion_space.ui.worker import Made, Worker

_SECTIONS = {"type": "array", "items": {"type": "object", "properties": {
    "name": {"type": "string"}, "bars": {"type": "integer"}, "prompt": {"type": "string"},
    "energy": {"type": "string", "enum": list(ENERGIES)},
    "transition": {"type": "string", "enum": list(TRANSITIONS)}, "seed": {"type": "integer"}}}}


def build(worker: Worker, sampling: Sampling) -> Tab:
    """Place the tab's components and its endpoint, /arrange."""

    async def arrange(
        sections: list[dict[str, Any]],
        bpm: float = DEFAULT_BPM,
        key: str | None = None,
        negative_prompt: str = "",
        seed: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        scheduler: str | None = None,
        steadiness: float = STEADINESS,
        audio: str | None = None,
        anew: int | None = None,
        request: gr.Request = None,
    ) -> Made:
        """Make a piece of sections on one grid of beats, or one section of such a piece anew.

        Args:
            sections: a list of objects: name (intro, verse, build, drop, outro, or one's own), bars of four beats,
                prompt, energy (very low, low, medium, high, very high), transition into it (cut, crossfade,
                interpolate), and perhaps a seed of its own. What is left out is a verse of 4 bars at medium
                energy, crossfaded, that plays what the checkpoint likes.
            bpm: tempo, 40 to 240.
            key: such as "A minor"; prompts that name none are given it in words; none leaves it open.
            negative_prompt: what to stay away from.
            seed: a whole number from 0 to 4294967295; left out, one is drawn, which the settings tell.
            steps: denoising steps, from 1; more is finer and slower; left out, what suits the checkpoint.
            guidance: how closely to follow the prompts, 0 to 30; 1 is twice as fast and ignores negative_prompt;
                left out, what suits the checkpoint.
            scheduler: dpm++, unipc, euler, euler a, ddim, pndm or lms; recommended is what suits the checkpoint.
            steadiness: how much each section repeats a loop, for the beat's sake: 0 not at all, 1 wholly.
            audio: with anew, the piece as it is, made of the same bars and bpm.
            anew: the number, from 1, of the one section that is made anew; the others stay, sample for sample.

        Returns:
            The sound, a picture of its spectrogram, and the settings that make it again.
        """
        if sections is None:
            raise gr.Error("Expected sections: a list of objects, got nothing.", print_exception=False)
        if anew is not None and audio is None:
            raise gr.Error("Expected a piece to make a section of anew: generate it first.", print_exception=False)
        change = {name: value for name, value in (("audio", audio), ("anew", anew)) if value is not None}
        return await worker.run("arrange", request, sections=sections, bpm=bpm, key=chosen(key),
                                negative_prompt=negative_prompt, seed=seed, steps=steps, guidance=guidance,
                                scheduler=chosen(scheduler), steadiness=steadiness, **change)

    result = Result.build()
    shown = timeline(sorted(EXAMPLES_DIR.glob("*.yaml")))
    sections = gr.JSON(visible="hidden", label="Sections")
    sections.api_info = lambda: _SECTIONS  # of itself a gr.JSON says that it takes anything, in no JSON schema's words
    sections.example_inputs = lambda: [{"name": "intro", "bars": 2, "prompt": "synth pad", "energy": "low"}]
    audio = gr.Audio(visible=False, type="filepath", label="Piece")
    # What is sent, and what the page wants to be sent: once a section was made anew, the next is the whole again.
    anew, wanted = blank_number("Section", "", precision=0, visible=False), gr.JSON(visible=False)
    with gr.Row():
        with gr.Column():
            with gr.Row():
                bpm = gr.Number(DEFAULT_BPM, label="Tempo", info="bpm", min_width=100)
                key = gr.Dropdown([("any", NONE), *KEYS], label="Key", min_width=120)
            place = gr.Column()
            with gr.Accordion("Advanced", open=False):
                negative_prompt = negative_prompt_box()
                seed = seed_box("Seed", result)
                steadiness = gr.Slider(0, 1, STEADINESS, step=0.05, label="Steadiness",
                                       info="How much a long piece repeats itself, so that its beat holds")
            with gr.Accordion("A piece made earlier, to make a section of anew", open=False) as folded:
                earlier = gr.Audio(label="Piece", type="filepath", sources=["upload"], buttons=[],
                                   waveform_options=WAVEFORM)
        with gr.Column():
            result.render()
    inputs = [sections, bpm, key, negative_prompt, seed, sampling.steps, sampling.guidance, sampling.scheduler,
              steadiness, audio, anew]
    with place:
        press = connect(worker, arrange, inputs, [], result, seed, before=(
            [shown, wanted, earlier, result.sound], [sections, anew, audio, wanted],
            "({sections}, wanted, earlier, made) => [sections, wanted, wanted ? earlier ?? made : null, null]"))
    # The tempo alone is told: what Gradio holds as the sections may be those from before a link filled in others.
    bpm.change(None, bpm, None, js="(bpm) => window.riffusionTimeline?.tempo(bpm)", **PRIVATE)
    shown.select(None, shown, bpm, js="({bpm}) => bpm", **PRIVATE)
    # A piece that was brought along gives way to what becomes of it.
    result.made.success(None, None, earlier, js="() => null", **PRIVATE)
    # While something is under way, nothing else is begun, now or later.
    shown.retry(None, shown, wanted, **PRIVATE,
                js="({anew}) => document.getElementById('arrange-generate') ? anew : null",
                ).then(None, wanted, None, js=f"(wanted) => wanted && ({press})()", **PRIVATE)
    return Tab.of(arrange, inputs, earlier, result, None, folded, sections=shown)
