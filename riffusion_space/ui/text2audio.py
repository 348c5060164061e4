"""The tab that makes sound from words."""

from __future__ import annotations

import gradio as gr

from riffusion_space.tempo import KEYS, STEADINESS
from riffusion_space.ui.components import (
    NONE,
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

EXAMPLES = [
    "church bells", "happy piano melody, 120 bpm", "flute melody", "funk", "techno, 130 bpm", "slow sad violin",
    "bossa nova", "calm harp arpeggio", "energetic rock", "music box", "jazz saxophone", "dreamy synth pad", "sitar",
    "steel drums", "hip hop, 90 bpm", "dark church organ chords", "",
]


def build(worker: Worker, sampling: Sampling) -> Tab:
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
        loop: bool = False,
        bpm: float | None = None,
        bars: int | None = None,
        key: str | None = None,
        steadiness: float = STEADINESS,
        seed_file: str | None = None,
        request: gr.Request = None,
    ) -> Made:
        """Make sound from words.

        Args:
            prompt: what to play, such as "church bells"; (word:1.3) weighs a word; empty leaves it to the checkpoint.
            negative_prompt: what to stay away from.
            seed: a whole number from 0 to 4294967295; left out, one is drawn, which the settings tell.
            steps: denoising steps, from 1; more is finer and slower; left out, what suits the checkpoint.
            guidance: how closely to follow the prompt, 0 to 30; 1 is twice as fast and ignores negative_prompt;
                left out, what suits the checkpoint.
            scheduler: dpm++, unipc, euler, euler a, ddim, pndm or lms; recommended is what suits the checkpoint.
            duration_s: length in seconds, from 1.
            seed_image: name of a built-in loop that gives tempo and key; none for no loop.
            strength: with a seed image, how far to go from it: 0 keeps it, 1 ignores it.
            loop: the last sample is followed by the first, so that it can be repeated without end.
            bpm: tempo, 40 to 240; a prompt that names none is given it in words. A loop is then of whole bars.
            bars: the length in bars of four beats, in place of duration_s; needs bpm.
            key: such as "A minor"; a prompt that names none is given it in words; none leaves it open.
            steadiness: how much a piece of over 5 s repeats itself, for the beat's sake: 0 not at all, 1 wholly.
            seed_file: a picture or sound of one's own in place of seed_image.

        Returns:
            The sound, a picture of its spectrogram, and the settings that make it again.
        """
        return await worker.run("text2audio", request, prompt=prompt, negative_prompt=negative_prompt, seed=seed,
                                steps=steps, guidance=guidance, scheduler=chosen(scheduler), duration_s=duration_s,
                                seed_image=seed_file or chosen(seed_image), strength=strength, loop=loop, bpm=bpm,
                                bars=bars, key=chosen(key), steadiness=steadiness)

    result = Result.build()
    with gr.Row():
        with gr.Column():
            prompt = prompt_box("Prompt", "instrument, genre, mood, tempo, or nothing", autofocus=True)
            place = gr.Column()
            words = word_picker(prompt)
            longest = worker.config.max_seconds
            with gr.Accordion("Advanced", open=False):
                negative_prompt = negative_prompt_box()
                seed = seed_box("Seed", result)
                duration_s = gr.Number(min(5.11, longest), label="Duration", info=f"1 to {longest:g} s", step=0.01)
            with gr.Accordion("Tempo, key, loop", open=False):
                loop = gr.Checkbox(False, label="Loop: the end runs into the beginning")
                with gr.Row():
                    bpm = blank_number("Tempo", "any", info="bpm", min_width=100)
                    bars = blank_number("Bars", "any", info="of four beats", precision=0, min_width=100)
                    key = gr.Dropdown([("any", NONE), *KEYS], label="Key", info="major or minor", min_width=120)
                steadiness = gr.Slider(0, 1, STEADINESS, step=0.05, label="Steadiness",
                                       info="How much a long piece repeats itself, so that its beat holds")
            with gr.Accordion("Seed image: a loop that gives tempo and key", open=False) as seeds:
                seed_image = SeedImagePicker.build()
                strength = strength_slider(0.75, "How far to go from the seed image: 0 keeps it, 1 ignores it")
        with gr.Column():
            result.render()
    inputs = [prompt, negative_prompt, seed, sampling.steps, sampling.guidance, sampling.scheduler, duration_s,
              seed_image.name, strength, loop, bpm, bars, key, steadiness, seed_image.file]
    with place:
        press = connect(worker, text2audio, inputs, [prompt], result, seed)
        examples([[text] for text in EXAMPLES], [prompt], press, [text or "anything" for text in EXAMPLES])
    return Tab.of(text2audio, inputs, seed_image.file, result, words, seeds)
