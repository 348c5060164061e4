"""The tab that lets a sound go on."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from riffusion_space.tempo import STEADINESS
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
)
from riffusion_space.ui.original import Original, example_files
from riffusion_space.ui.words import word_picker
from riffusion_space.ui.worker import Made, Worker

_EXAMPLE_PROMPTS = ("happy piano melody", "energetic rock")  # for the files in the folder of examples, in turn


def build(worker: Worker, sampling: Sampling) -> Tab:
    """Place the tab's components and its endpoint, /extend."""

    async def extend(
        audio: str,
        prompt: str,
        seconds: float = 5.0,
        side: str = "right",
        negative_prompt: str = "",
        seed: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        scheduler: str | None = None,
        steadiness: float = STEADINESS,
        request: gr.Request = None,
    ) -> Made:
        """Let a sound go on, or begin earlier; the sound itself stays as it is, sample for sample.

        Args:
            audio: a file of nearly any format: WAV, MP3, FLAC, OGG, M4A, WebM.
            prompt: what goes on, such as "happy piano melody".
            seconds: how many seconds longer it becomes, from 0.1.
            side: right goes on after the end, left begins earlier.
            negative_prompt: what to stay away from.
            seed: a whole number from 0 to 4294967295; left out, one is drawn, which the settings tell.
            steps: denoising steps, from 1; more is finer and slower; left out, what suits the checkpoint.
            guidance: how closely to follow the prompt, 0 to 30; 1 is twice as fast and ignores negative_prompt;
                left out, what suits the checkpoint.
            scheduler: dpm++, unipc, euler, euler a, ddim, pndm or lms; recommended is what suits the checkpoint.
            steadiness: how much more than 5 s repeat the sound's own bars, for the beat's sake: 0 not at all, 1 wholly.

        Returns:
            The sound, a picture of its spectrogram, and the settings that make it again.
        """
        if audio is None:
            raise gr.Error("Expected a sound to go on from: upload or record one.", print_exception=False)
        return await worker.run("extend", request, audio=audio, prompt=prompt, seconds=seconds, side=side,
                                negative_prompt=negative_prompt, seed=seed, steps=steps, guidance=guidance,
                                scheduler=chosen(scheduler), steadiness=steadiness)

    result = Result.build()
    with gr.Row():
        with gr.Column():
            original = Original.build("extend-original")
            prompt = prompt_box("Prompt", "what goes on")
            longest = worker.config.max_seconds
            with gr.Row():
                seconds = gr.Number(min(5.0, longest), label="Seconds more", step=0.1, min_width=120,
                                    info=f"up to {longest:g} s in all")
                side = gr.Radio([("after the end", "right"), ("before the beginning", "left")], value="right",
                                label="Where", min_width=120)
            place = gr.Column()
            words = word_picker(prompt)
            with gr.Accordion("Advanced", open=False):
                negative_prompt = negative_prompt_box()
                steadiness = gr.Slider(0, 1, STEADINESS, step=0.05, label="Steadiness",
                                       info="How much a long piece repeats itself, so that its beat holds")
                seed = seed_box("Seed", result)
        with gr.Column():
            result.render()
    original.show(worker)
    inputs = [original.audio, prompt, seconds, side, negative_prompt, seed, sampling.steps, sampling.guidance,
              sampling.scheduler, steadiness]
    with place:
        press = connect(worker, extend, inputs, [prompt], result, seed)
        rows = [[file, text, where] for file, text in zip(example_files(), _EXAMPLE_PROMPTS)
                for where in ("right", "left")]
        if rows:
            arrows = {"right": "{} → on and on", "left": "an intro → {}"}
            labels = [arrows[where].format(Path(file).stem.replace("-", " ")) for file, _, where in rows]
            examples(rows, [original.audio, prompt, side], press, labels)
    return Tab.of(extend, inputs, original.audio, result, words)
