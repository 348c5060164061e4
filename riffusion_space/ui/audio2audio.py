"""The tab that restyles a sound."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import gradio as gr

from riffusion_space.ui.components import (
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
from riffusion_space.ui.original import Original, example_files
from riffusion_space.ui.words import word_picker
from riffusion_space.ui.worker import Made, Worker

_EXAMPLE_PROMPTS = (("music box", "church organ", ""), ("techno", "steel drums", ""))  # in turn for the example files


def build(worker: Worker, sampling: Sampling) -> Tab:
    """Place the tab's components and its endpoint, /audio2audio."""

    async def audio2audio(
        audio: str,
        prompt: str,
        negative_prompt: str = "",
        strength: float = 0.55,
        seed: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        scheduler: str | None = None,
        request: gr.Request = None,
    ) -> Made:
        """Restyle a sound by words; the result is as long as the input.

        Args:
            audio: a file of nearly any format: WAV, MP3, FLAC, OGG, M4A, WebM.
            prompt: what it should become, such as "music box"; empty makes a variation.
            negative_prompt: what to stay away from.
            strength: how far to go from the input: 0 gives it back, 1 ignores it.
            seed: a whole number from 0 to 4294967295; left out, one is drawn, which the settings tell.
            steps: denoising steps, from 1; more is finer and slower; left out, what suits the checkpoint.
            guidance: how closely to follow the prompt, 0 to 30; 1 is twice as fast and ignores negative_prompt;
                left out, what suits the checkpoint.
            scheduler: dpm++, unipc, euler, euler a, ddim, pndm or lms; recommended is what suits the checkpoint.

        Returns:
            The sound, a picture of its spectrogram, and the settings that make it again.
        """
        if audio is None:
            raise gr.Error("Expected a sound to restyle: upload or record one.", print_exception=False)
        return await worker.run("audio2audio", request, audio=audio, prompt=prompt, negative_prompt=negative_prompt,
                                strength=strength, seed=seed, steps=steps, guidance=guidance,
                                scheduler=chosen(scheduler))

    result = Result.build()
    with gr.Row():
        with gr.Column():
            original = Original.build()
            prompt = prompt_box("Prompt", "what it should become; empty for a variation")
            strength = strength_slider(0.55, "How far to go from the original: 0.4 is light, 0.55 heavy")
            place = gr.Column()
            words = word_picker(prompt)
            with gr.Accordion("Advanced", open=False):
                negative_prompt = negative_prompt_box()
                seed = seed_box("Seed", result)
        with gr.Column():
            result.render()
    original.show(worker)
    inputs = [original.audio, prompt, negative_prompt, strength, seed, sampling.steps, sampling.guidance,
              sampling.scheduler]
    with place:
        press = connect(worker, audio2audio, inputs, [prompt], result, seed)
        if rows := _examples():
            labels = [f"{Path(file).stem.replace('-', ' ')} → {text or 'a variation'}" for file, text in rows]
            examples(rows, [original.audio, prompt], press, labels)
    return Tab.of(audio2audio, inputs, original.audio, result, words)


def _examples() -> list[list[str]]:
    """A file and a prompt, for whatever sounds are in the folder."""
    return [[file, text] for file, texts in zip(example_files(), cycle(_EXAMPLE_PROMPTS)) for text in texts]
