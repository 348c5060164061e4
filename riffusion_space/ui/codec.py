"""The tab without a model: a spectrogram image to sound, a sound to its spectrogram image."""

from __future__ import annotations

import gradio as gr

from riffusion_space.seed_images import built_in
from riffusion_space.ui.components import Result, Sampling, Tab, examples, spectrogram, wire
from riffusion_space.ui.original import Original, example_files
from riffusion_space.ui.worker import Worker


def build(worker: Worker, _: Sampling) -> Tab:
    """Place the tab's components and its endpoints, /image2audio and /audio2image; the result is the former's."""

    async def image2audio(image: str, seed: int = 0, request: gr.Request = None) -> tuple[str, str]:
        """Decode a spectrogram image to the sound that it shows.

        Args:
            image: a picture 512 pixels high, 100 to the second; parameters in its EXIF are used. Colours are taken for
                grey, green and blue without red for left and right.
            seed: of the phase, which a picture does not hold; a whole number from 0 to 4294967295.

        Returns:
            The sound, and a picture of its spectrogram.
        """
        if image is None:
            raise gr.Error("Expected a spectrogram image: choose one.", print_exception=False)
        if seed is None:
            raise gr.Error("Expected a seed: 0 will do.", print_exception=False)
        return await worker.run("image2audio", request, image=image, seed=seed)

    async def audio2image(audio: str, request: gr.Request = None) -> tuple[str, str]:
        """Analyse a sound into a spectrogram image that can be decoded again.

        Args:
            audio: a file of nearly any format: WAV, MP3, FLAC, OGG, M4A, WebM.

        Returns:
            The image, a PNG with its parameters in EXIF, and a picture of it with axes.
        """
        if audio is None:
            raise gr.Error("Expected a sound to analyse: upload or record one.", print_exception=False)
        return await worker.run("audio2image", request, audio=audio)

    result = Result.build("Spectrogram of the sound", with_settings=False)
    with gr.Row():
        with gr.Column():
            gr.Markdown("### Image to audio")
            image = gr.File(label="Spectrogram image, 512 pixels high", file_types=["image"], height=140)
            seed = gr.Number(0, label="Seed", info="of the phase, which a picture does not hold", precision=0)
            place = gr.Column()
            result.render()
        with gr.Column():
            gr.Markdown("### Audio to image")
            original = Original.build("codec-original")
            original.show(worker)
            button_place = gr.Column()
            png = gr.File(label="Image with its parameters in EXIF", interactive=False, elem_classes="result",
                          height=90)
            seen = spectrogram("Spectrogram image with axes")
    with place:
        wired = wire(worker, image2audio, [image, seed], [], result.outputs, "Make sound")
        result.follow(wired.made)
        loops = built_in()
        examples([[str(loop.path)] for loop in loops], [image], wired.press, [loop.name for loop in loops])
    with button_place:
        press = wire(worker, audio2image, [original.audio], [], [png, seen], "Make image").press
        if files := [[file] for file in example_files()]:
            examples(files, [original.audio], press, [file.rpartition("/")[2] for (file,) in files])
    return Tab("codec", {}, original.audio, result)
