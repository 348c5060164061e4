"""The tab that makes sound from words."""

from __future__ import annotations

import gradio as gr

from riffusion_space.ui.components import (
    Result,
    Sampling,
    SeedImagePicker,
    chosen,
    connect,
    examples,
    negative_prompt_box,
    prompt_box,
    seed_box,
    strength_slider,
)
from riffusion_space.ui.worker import Made, Worker

EXAMPLES = [
    "church bells", "happy piano melody, 120 bpm", "flute and piano", "funk", "techno, 130 bpm", "slow sad violin",
    "bossa nova", "calm harp arpeggio", "energetic rock", "music box", "jazz saxophone", "dreamy synth pad", "sitar",
    "steel drums", "hip hop, 90 bpm", "dark church organ chords",
]


def build(worker: Worker) -> Sampling:
    """Place the tab's components and its endpoint, /text2audio."""

    async def text2audio(
        prompt: str,
        negative_prompt: str = "",
        seed: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        scheduler: str | None = None,
        duration_s: float = 5.11,
        seed_image: str | None = None,
        strength: float = 0.75,
        seed_file: str | None = None,
        request: gr.Request = None,
    ) -> Made:
        """Make sound from words.

        Args:
            prompt: what to play, such as "church bells"; (word:1.3) weighs a word.
            negative_prompt: what to stay away from.
            seed: 0 to 4294967295; empty draws one, which the settings tell.
            steps: denoising steps; empty takes what suits the checkpoint, likewise for guidance and scheduler.
            guidance: how closely to follow the prompt.
            scheduler: dpm++, unipc, euler, euler a, ddim, pndm or lms.
            duration_s: length in seconds.
            seed_image: name of a built-in loop that gives tempo and key.
            strength: with a seed image, how far to go from it: 0 keeps it, 1 ignores it.
            seed_file: a picture or sound of one's own in place of seed_image.

        Returns:
            The sound, a picture of its spectrogram, and the settings that make it again.
        """
        return await worker.run("text2audio", request, prompt=prompt, negative_prompt=negative_prompt, seed=seed,
                                steps=steps, guidance=guidance, scheduler=chosen(scheduler), duration_s=duration_s,
                                seed_image=seed_file or chosen(seed_image), strength=strength)

    result = Result.build()
    with gr.Row():
        with gr.Column():
            prompt = prompt_box("Prompt", "an instrument, a genre, a mood, a tempo", autofocus=True)
            place = gr.Column()
            longest = worker.config.max_seconds
            with gr.Accordion("Advanced", open=False):
                negative_prompt = negative_prompt_box()
                seed = seed_box("Seed", result)
                sampling = Sampling.build()
                duration_s = gr.Number(min(5.11, longest), label="Duration", info=f"1 to {longest:g} s", step=0.01)
            with gr.Accordion("Seed image: a loop that gives tempo and key", open=False):
                seed_image = SeedImagePicker.build()
                strength = strength_slider(0.75, "How far to go from the seed image: 0 keeps it, 1 ignores it")
        with gr.Column():
            result.render()
    inputs = [prompt, negative_prompt, seed, sampling.steps, sampling.guidance, sampling.scheduler, duration_s,
              seed_image.name, strength, seed_image.file]
    with place:
        press = connect(text2audio, inputs, [prompt], result)
        examples([[text] for text in EXAMPLES], [prompt], press)
    return sampling
