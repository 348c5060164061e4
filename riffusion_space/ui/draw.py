"""The tab where a spectrogram is drawn by hand, and heard."""

from __future__ import annotations

from typing import Any

import gradio as gr

from riffusion_space.seed_images import built_in
from riffusion_space.ui.canvas import canvas, from_file, from_value, to_value
from riffusion_space.ui.components import OTHER_AUDIO, PRIVATE, Result, Sampling, Tab, seed_thumbnails, wire
from riffusion_space.ui.worker import Worker, sentence

_PEAK_DB = -1.0  # black is as loud as the loudest: a drawing says how loud its parts are, not the whole


def build(worker: Worker, _: Sampling) -> Tab:
    """Place the tab's components."""

    async def drawing2audio(drawing: dict[str, str] | None, request: gr.Request = None) -> tuple[str, str]:
        """The sound of a drawing, and a picture of its spectrogram."""
        try:
            image = from_value(drawing)
        except ValueError as error:
            raise gr.Error(sentence(error), print_exception=False) from error
        return await worker.run("image2audio", request, image=image, seed=0, peak_db=_PEAK_DB)

    def opened(path: str) -> dict[str, str]:
        try:
            return to_value(from_file(path))
        except ValueError as error:
            raise gr.Error(sentence(error), print_exception=False) from error

    def take(file: str | None) -> Any:
        """What was uploaded or comes from another tab."""
        return gr.skip() if file is None else opened(file)

    def choose(event: gr.SelectData) -> dict[str, str]:
        return opened(str(loops[event.index].path))

    loops = built_in()
    result = Result.build("Spectrogram of the drawing", with_settings=False)
    with gr.Row():
        with gr.Column():
            drawing = canvas("Drawing", "Canvas for a spectrogram of 5 seconds. Arrow keys move the pen, space puts it "
                                        "down and lifts it.")
            place = gr.Column()
        with gr.Column():
            result.render()
            gr.Markdown("Dark is loud, white is silence; high is high, and time runs to the right. "
                        "Line draws one tone, Note one with overtones.\n\n"
                        "**Begin with a loop**, and change it:")
            thumbnails = seed_thumbnails(loops)
            file = gr.File(label="Or with your own: a sound, or a picture", file_types=["image", "audio", *OTHER_AUDIO],
                           height=140, elem_id="draw-file")
            gr.Markdown("A spectrogram 512 pixels high is taken as it is, its first 512 columns; any other picture is "
                        "made grey and stretched. Of a sound, the first 5 seconds are taken.")
    with place:
        result.follow(wire(worker, drawing2audio, [drawing], [], result.outputs, "Hear it", public=False).made)
    thumbnails.select(choose, None, drawing, **PRIVATE)
    # An event whose progress is hidden does not show its errors; on the file they leave the drawing alone.
    taken = file.change(take, file, drawing, api_visibility="private", show_progress="minimal", show_progress_on=file)
    # Once it is on the canvas, what is there is no longer that file.
    taken.success(None, None, file, js="() => null", **PRIVATE)
    return Tab("draw", {}, file, result)
