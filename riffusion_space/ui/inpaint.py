"""The tab that makes a part of a sound anew."""

from __future__ import annotations

from typing import Any

import gradio as gr

from riffusion_space.spectrogram import SpectrogramParams
from riffusion_space.ui.components import (
    PRIVATE,
    Result,
    Sampling,
    Tab,
    chosen,
    connect,
    examples,
    negative_prompt_box,
    prompt_box,
    seed_box,
    strength_slider,
)
from riffusion_space.ui.original import Original, RegionPicker, example_files
from riffusion_space.ui.words import word_picker
from riffusion_space.ui.worker import Made, Worker

# prompt, seconds and band for the files in the folder of examples, in turn
_EXAMPLES = (("flute", 3.0, 5.0, 0, 10_000), ("techno bass", 2.0, 4.0, 0, 400))


def build(worker: Worker, sampling: Sampling) -> Tab:
    """Place the tab's components and its endpoint, /inpaint."""

    async def inpaint(
        audio: str,
        prompt: str,
        regions: list[list[float]],
        negative_prompt: str = "",
        strength: float = 1.0,
        seed: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        scheduler: str | None = None,
        request: gr.Request = None,
    ) -> Made:
        """Make parts of a sound anew by words; outside of them it stays as it is, sample for sample.

        Args:
            audio: a file of nearly any format: WAV, MP3, FLAC, OGG, M4A, WebM.
            prompt: what belongs into the regions, such as "flute".
            regions: a list of [start, end] in seconds, at least 0.1 s long, or [start, end, low, high] with a band in
                Hz, at least 50 Hz wide and within 0 to 10000.
            negative_prompt: what to stay away from.
            strength: how far to go from what is there: 0 keeps it, 1 ignores it.
            seed: a whole number from 0 to 4294967295; left out, one is drawn, which the settings tell.
            steps: denoising steps, from 1; more is finer and slower; left out, what suits the checkpoint.
            guidance: how closely to follow the prompt, 0 to 30; 1 is twice as fast and ignores negative_prompt;
                left out, what suits the checkpoint.
            scheduler: dpm++, unipc, euler, euler a, ddim, pndm or lms; recommended is what suits the checkpoint.

        Returns:
            The sound, a picture of its spectrogram, and the settings that make it again.
        """
        if audio is None:
            raise gr.Error("Expected a sound to change: upload or record one.", print_exception=False)
        return await worker.run("inpaint", request, audio=audio, prompt=prompt, regions=regions,
                                negative_prompt=negative_prompt, strength=strength, seed=seed, steps=steps,
                                guidance=guidance, scheduler=chosen(scheduler))

    result = Result.build()
    with gr.Row():
        with gr.Column():
            original = Original.build("inpaint-original", bands=True)
            with gr.Group():
                picker = RegionPicker.build(SpectrogramParams().max_frequency)
            prompt = prompt_box("Prompt", "what belongs there")
            place = gr.Column()
            words = word_picker(prompt)
            with gr.Accordion("Advanced", open=False):
                negative_prompt = negative_prompt_box()
                strength = strength_slider(1.0, "How far to go from what is there: 0 keeps it, 1 ignores it")
                seed = seed_box("Seed", result)
        with gr.Column():
            result.render()
    picker.mark(original.player, original.show(worker))
    inputs = [original.audio, prompt, picker.regions, negative_prompt, strength, seed, sampling.steps,
              sampling.guidance, sampling.scheduler]
    with place:
        press = connect(worker, inpaint, inputs, [prompt], result, seed,
                        before=([picker.kept, *picker.numbers], picker.regions, picker.to_regions()))
        if rows := _examples():
            # Their regions are for their sounds.
            meant = "(audio) => { window.riffusion.regionsOf = audio.orig_name; }"
            examples([[*row, []] for row in rows], [original.audio, prompt, *picker.numbers, picker.kept], press,
                     [_label(row) for row in rows]).then(None, original.audio, None, js=meant, **PRIVATE)
    return Tab.of(inpaint, inputs, original.audio, result, words, start=picker.start, end=picker.end,
                      low=picker.low, high=picker.high, kept=picker.kept)


def _examples() -> list[list[Any]]:
    return [[file, *example] for file, example in zip(example_files(), _EXAMPLES)]


def _label(row: list[Any]) -> str:
    _, prompt, start, end, low, high = row
    band = "" if (low, high) == (0, 10_000) else f", {low} to {high} Hz"
    return f"{start:g} to {end:g} s{band} → {prompt}"
