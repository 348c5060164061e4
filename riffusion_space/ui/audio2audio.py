"""The tab that restyles a sound."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import gradio as gr

from riffusion_space.audio import SUFFIXES, read_audio
from riffusion_space.codec import encode
from riffusion_space.ui import picture
from riffusion_space.ui.components import (
    OTHER_AUDIO,
    PRIVATE,
    WAVEFORM,
    Result,
    Sampling,
    chosen,
    connect,
    examples,
    negative_prompt_box,
    prompt_box,
    seed_box,
    spectrogram,
    strength_slider,
)
from riffusion_space.ui.worker import Made, Worker, sentence

EXAMPLES_DIR = Path(__file__).resolve().parents[2] / "assets" / "examples"
_EXAMPLE_PROMPTS = (("music box", "church organ"), ("techno", "steel drums"))  # in turn for the files in EXAMPLES_DIR


def build(worker: Worker) -> Sampling:
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
            prompt: what it should become, such as "music box".
            negative_prompt: what to stay away from.
            strength: how far to go from the input: 0 gives it back, 1 ignores it.
            seed: 0 to 4294967295; empty draws one, which the settings tell.
            steps: denoising steps; empty takes what suits the checkpoint, likewise for guidance and scheduler.
            guidance: how closely to follow the prompt.
            scheduler: dpm++, unipc, euler, euler a, ddim, pndm or lms.

        Returns:
            The sound, a picture of its spectrogram, and the settings that make it again.
        """
        if audio is None:
            raise gr.Error("Expected a sound to restyle: upload or record one.", print_exception=False)
        return await worker.run("audio2audio", request, audio=audio, prompt=prompt, negative_prompt=negative_prompt,
                                strength=strength, seed=seed, steps=steps, guidance=guidance,
                                scheduler=chosen(scheduler))

    def show(audio: str | None) -> dict[str, Any]:
        """The spectrogram of what was uploaded, or a sentence on why it has none."""
        if audio is None:
            return gr.update(value=None, visible=False)
        try:
            wave = read_audio(audio, worker.config.max_seconds)
        except ValueError as error:
            raise gr.Error(sentence(error), print_exception=False) from error
        return gr.update(value=picture.draw(encode(wave.to_mono())), visible=True)

    result = Result.build()
    with gr.Row():
        with gr.Column():
            audio = gr.Audio(label="Original", type="filepath", sources=["upload", "microphone"], buttons=[],
                             waveform_options=WAVEFORM, elem_id="original")
            other = gr.UploadButton("Another kind of file: WebM, MP4, CAF", file_types=OTHER_AUDIO, size="sm")
            original = spectrogram("Spectrogram of the original", visible=False)
            prompt = prompt_box("Prompt", "what it should become")
            strength = strength_slider(0.55, "How far to go from the original: 0.4 is light, 0.55 heavy")
            place = gr.Column()
            with gr.Accordion("Advanced", open=False):
                negative_prompt = negative_prompt_box()
                seed = seed_box("Seed", result)
                sampling = Sampling.build()
        with gr.Column():
            result.render()
    other.upload(lambda file: file, other, audio, **PRIVATE)
    audio.change(show, audio, original, api_visibility="private", show_progress="minimal")
    inputs = [audio, prompt, negative_prompt, strength, seed, sampling.steps, sampling.guidance, sampling.scheduler]
    with place:
        press = connect(audio2audio, inputs, [prompt], result)
        if rows := _examples():
            labels = [f"{Path(file).stem.replace('-', ' ')} → {text}" for file, text in rows]
            examples(rows, [audio, prompt], press, labels)
    return sampling


def _examples() -> list[list[str]]:
    """A file and a prompt, for whatever sounds are in the folder."""
    files = sorted(path for path in EXAMPLES_DIR.glob("*") if path.suffix in SUFFIXES)
    return [[str(file), text] for file, texts in zip(files, cycle(_EXAMPLE_PROMPTS)) for text in texts]
