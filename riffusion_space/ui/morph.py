"""The tab that turns one sound into another."""

from __future__ import annotations

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


def build(worker: Worker, sampling: Sampling) -> Tab:
    """Place the tab's components and its endpoint, /morph."""

    async def morph(
        audio_a: str,
        audio_b: str,
        prompt: str = "",
        duration_s: float = 10.0,
        strength: float = 0.6,
        negative_prompt: str = "",
        seed: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        scheduler: str | None = None,
        request: gr.Request = None,
    ) -> Made:
        """Turn one sound into another; where both have a steady beat, the tempo glides.

        Args:
            audio_a: what it begins as, a file of nearly any format: WAV, MP3, FLAC, OGG, M4A, WebM.
            audio_b: what it ends as, likewise.
            prompt: what lies between them, such as "strings"; empty leaves it open.
            duration_s: length in seconds, from 1.
            strength: how far the middle may go from both: 0 blends their pictures, 1 ignores them there.
            negative_prompt: what to stay away from.
            seed: a whole number from 0 to 4294967295; left out, one is drawn, which the settings tell.
            steps: denoising steps, from 1; more is finer and slower; left out, what suits the checkpoint.
            guidance: how closely to follow the prompt, 0 to 30; 1 is twice as fast and ignores negative_prompt;
                left out, what suits the checkpoint.
            scheduler: dpm++, unipc, euler, euler a, ddim, pndm or lms; recommended is what suits the checkpoint.

        Returns:
            The sound, a picture of its spectrogram, and the settings that make it again.
        """
        if audio_a is None or audio_b is None:
            raise gr.Error("Expected two sounds: upload or record one to begin with, and one to end with.",
                           print_exception=False)
        return await worker.run("morph", request, audio_a=audio_a, audio_b=audio_b, prompt=prompt,
                                duration_s=duration_s, strength=strength, negative_prompt=negative_prompt, seed=seed,
                                steps=steps, guidance=guidance, scheduler=chosen(scheduler))

    result = Result.build()
    with gr.Row():
        with gr.Column():
            begin = Original.build("morph-begin", label="Begins as")
            end = Original.build("morph-end", label="Ends as")
            prompt = prompt_box("Prompt", "what lies between; empty leaves it open", value="")
            longest = worker.config.max_seconds
            duration_s = gr.Number(min(10.0, longest), label="Duration", info=f"1 to {longest:g} s", step=0.1)
            place = gr.Column()
            words = word_picker(prompt)
            with gr.Accordion("Advanced", open=False):
                negative_prompt = negative_prompt_box()
                strength = strength_slider(0.6, "How far the middle may go from both: 0 blends them, 1 ignores them")
                seed = seed_box("Seed", result)
        with gr.Column():
            result.render()
    for sound in (begin, end):
        sound.show(worker)
    inputs = [begin.audio, end.audio, prompt, duration_s, strength, negative_prompt, seed, sampling.steps,
              sampling.guidance, sampling.scheduler]
    with place:
        press = connect(worker, morph, inputs, [prompt], result, seed)
        files = example_files()
        if rows := [[one, other] for one in files for other in files if one != other]:
            labels = [" → ".join(file.rpartition("/")[2].rpartition(".")[0].replace("-", " ") for file in row)
                      for row in rows]
            examples(rows, [begin.audio, end.audio], press, labels)
    return Tab.of(morph, inputs, begin.audio, result, words)
