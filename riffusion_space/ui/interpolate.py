"""The tab that travels from one prompt, or one seed, to another."""

from __future__ import annotations

import gradio as gr

from riffusion_space.ui.components import (
    Result,
    Sampling,
    SeedImagePicker,
    Tab,
    blank_number,
    chosen,
    connect,
    examples,
    negative_prompt_box,
    prompt_box,
    seed_box,
    strength_slider,
)
from riffusion_space.ui.words import word_picker
from riffusion_space.ui.worker import Made, Worker

# from, to, seeds of both
_EXAMPLES = [
    ["church bells", "jazz piano", None, None],
    ["slow harp", "fast banjo", None, None],
    ["dreamy synth pad", "energetic techno, 130 bpm", None, None],
    ["funk", "", 1, 2],
    ["marimba", "", 7, 8],
]


def build(worker: Worker, sampling: Sampling) -> Tab:
    """Place the tab's components and its endpoint, /interpolate."""

    async def interpolate(
        prompt_a: str,
        prompt_b: str = "",
        clips: int = 6,
        negative_prompt: str = "",
        seed: int | None = None,
        seed_b: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        guidance_b: float | None = None,
        scheduler: str | None = None,
        seed_image: str | None = None,
        strength: float = 0.75,
        strength_b: float | None = None,
        seed_file: str | None = None,
        request: gr.Request = None,
    ) -> Made:
        """Travel from one prompt to another, or from one seed of a prompt to another, over a number of 5 s clips.

        Args:
            prompt_a: where to start, such as "church bells".
            prompt_b: where to end, such as "jazz piano"; empty keeps prompt_a and needs seed_b.
            clips: how many clips of 5.12 s, from 2.
            negative_prompt: what to stay away from.
            seed: at the start, 0 to 4294967295; left out, one is drawn, which the settings tell.
            seed_b: at the end, 0 to 4294967295; left out, that of the start.
            steps: denoising steps, from 1; more is finer and slower; left out, what suits the checkpoint.
            guidance: how closely to follow the prompt at the start, 0 to 30; left out, what suits the checkpoint.
            guidance_b: guidance at the end, 0 to 30; left out, that of the start.
            scheduler: dpm++, unipc, euler, euler a, ddim, pndm or lms; recommended is what suits the checkpoint.
            seed_image: name of a built-in loop that gives every clip its tempo and key; none for no loop.
            strength: with a seed image, how far to go from it at the start: 0 keeps it, 1 ignores it.
            strength_b: strength at the end, 0 to 1; left out, that of the start.
            seed_file: a picture or sound of one's own in place of seed_image.

        Returns:
            The sound, a picture of its spectrogram, and the settings that make it again.
        """
        return await worker.run("interpolate", request, prompt_a=prompt_a, prompt_b=prompt_b, clips=clips,
                                negative_prompt=negative_prompt, seed=seed, seed_b=seed_b, steps=steps,
                                guidance=guidance, guidance_b=guidance_b, scheduler=chosen(scheduler),
                                seed_image=seed_file or chosen(seed_image), strength=strength, strength_b=strength_b)

    result = Result.build()
    with gr.Row():
        with gr.Column():
            with gr.Group():
                prompt_a = prompt_box("From", "the prompt at the start")
                seed = seed_box("Seed at the start", result)
            with gr.Group():
                prompt_b = prompt_box("To", "the prompt at the end, or empty to keep it and change the seed", value="")
                seed_b = seed_box("Seed at the end", result, "seed_b", placeholder="same")
            most = worker.config.max_clips
            clips = gr.Slider(2, most, min(6, most), step=1, precision=0, label="Clips", info="5 s each")
            place = gr.Column()
            words = word_picker(prompt_a)
            with gr.Accordion("Advanced", open=False):
                negative_prompt = negative_prompt_box()
                guidance_b = blank_number("Guidance at the end", "same")
            with gr.Accordion("Seed image: a loop that gives tempo and key", open=False) as loop:
                seed_image = SeedImagePicker.build()
                strength = strength_slider(0.75, "How far to go from the seed image: 0 keeps it, 1 ignores it")
                strength_b = blank_number("Strength at the end", "same")
        with gr.Column():
            result.render()
    inputs = [prompt_a, prompt_b, clips, negative_prompt, seed, seed_b, sampling.steps, sampling.guidance, guidance_b,
              sampling.scheduler, seed_image.name, strength, strength_b, seed_image.file]
    with place:
        press = connect(worker, interpolate, inputs, [prompt_a, prompt_b], result, seed)
        labels = [f"{a} → {b}" if b else f"{a}, seed {start} → {end}" for a, b, start, end in _EXAMPLES]
        examples(_EXAMPLES, [prompt_a, prompt_b, seed, seed_b], press, labels)
    return Tab.of(interpolate, inputs, seed_image.file, result, words, loop)
