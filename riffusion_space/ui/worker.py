"""From a request of the page or of an API client to files: waits for the checkpoint, runs the task, can be cancelled.

Gradio cancels in two ways. A Cancel button, or a client's ``job.cancel()``, cancels the coroutine that the request runs
in; a closed tab or connection calls ``unload``. Both set the request's flag, which the pipeline looks at in every step.
"""

from __future__ import annotations

import asyncio
import math
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import spaces
from gradio.utils import get_upload_folder

from riffusion_space.arguments import check_arguments
from riffusion_space.audio import read_audio
from riffusion_space.config import Config
from riffusion_space.ui import picture
from riffusion_space.ui.loading import PipelineLoader

Made = tuple[str, str, dict[str, Any]]  # path of the sound, path of the picture, settings

# What a ZeroGPU is asked for: some seconds, and more for each step of each window of each channel.
_CLIP_S, _WINDOWS_A_CLIP = 5.12, 1.5
_GPU_START_S, _GPU_STEP_S, _USUAL_STEPS = 20, 0.05, 30

# What the page calls an argument, where it is not the argument's own name.
_LABELS = {
    "prompt_a": "From", "prompt_b": "To", "negative_prompt": "Negative prompt", "duration_s": "Duration",
    "seed_b": "Seed at the end", "guidance_b": "Guidance at the end", "strength_b": "Strength at the end",
    "seed_image": "Seed image",
}


@dataclass(frozen=True)
class CancelFlag:
    """Like a threading.Event, but a file, so that the process that ZeroGPU forks for a request sees it too."""

    path: Path

    def set(self) -> None:
        self.path.touch()

    def is_set(self) -> bool:
        return self.path.exists()


class Worker:
    """Runs the pipeline's tasks for the page."""

    def __init__(self, loader: PipelineLoader, config: Config) -> None:
        self.loader, self.config = loader, config
        self._running: set[tuple[str | None, CancelFlag]] = set()  # session and flag of each request
        self._cancelled: set[asyncio.Task[Made]] = set()  # what still has to notice it
        self._make_on_gpu = spaces.GPU(duration=self._gpu_seconds)(self._make)

    async def run(self, task: str, request: gr.Request, **arguments: Any) -> Made:
        """Do one of the pipeline's tasks; the files lie in a folder that is this request's alone.

        Raises gr.Error with a sentence for bad input, and after ``cancel_session``.
        """
        try:
            check_arguments(self.config, **arguments)  # before anything is waited for
        except ValueError as error:
            raise gr.Error(sentence(error), print_exception=False) from error
        # Inside Gradio's cache, where nothing is copied again and old files are deleted.
        folder = Path(get_upload_folder()).resolve() / uuid.uuid4().hex
        folder.parent.mkdir(parents=True, exist_ok=True)
        flag = CancelFlag(folder.with_suffix(".cancelled"))
        running = (request.session_hash, flag)
        self._running.add(running)
        made = asyncio.create_task(asyncio.to_thread(self._make_on_gpu, task, arguments, folder, flag))
        try:
            return await asyncio.shield(made)
        except asyncio.CancelledError:
            flag.set()  # the thread runs on until it sees this
            self._cancelled.add(made)
            made.add_done_callback(lambda _: self._clean_up(made, folder, flag))
            raise
        finally:
            self._running.discard(running)

    def _clean_up(self, made: asyncio.Task[Made], folder: Path, flag: CancelFlag) -> None:
        """Remove what a cancelled request leaves, who may have been done before it noticed."""
        self._cancelled.discard(made)
        made.exception()  # asked for, or asyncio would report it
        shutil.rmtree(folder, ignore_errors=True)
        flag.path.unlink(missing_ok=True)

    def cancel_session(self, request: gr.Request) -> None:
        """Cancel whatever runs for a page that was closed or a client that has gone."""
        for session, flag in tuple(self._running):
            if session == request.session_hash:
                flag.set()

    def _make(self, task: str, arguments: dict[str, Any], folder: Path, flag: CancelFlag) -> Made:
        from riffusion_space.denoise import Cancelled  # after the page is up: it imports diffusers

        bar = gr.Progress()

        def report(fraction: float, text: str) -> None:
            if flag.is_set():
                raise Cancelled
            bar(fraction, desc=text)

        try:
            pipeline = self.loader.wait(report)
            clip = getattr(pipeline, task)(**arguments, progress=report, cancel=flag)
            report(1.0, "Saving")
        except Cancelled as error:
            raise gr.Error("Cancelled.", print_exception=False) from error
        except ValueError as error:
            raise gr.Error(sentence(error), print_exception=False) from error
        finally:
            flag.path.unlink(missing_ok=True)
        folder.mkdir()
        sound = clip.save(folder / clip.file_name(".wav"))
        image = folder / clip.file_name("-spectrogram.png")
        picture.draw(clip.image).save(image)
        return str(sound), str(image), clip.settings

    def _gpu_seconds(self, task: str, arguments: dict[str, Any], folder: Path, flag: CancelFlag) -> int:
        """How long a request may hold a ZeroGPU, in seconds."""
        channels = 1
        if task == "interpolate":
            clips = arguments["clips"]
        elif task == "audio2audio":
            try:
                wave = read_audio(arguments["audio"], self.config.max_seconds)
            except ValueError:  # the task itself will say so
                return _GPU_START_S
            clips, channels = wave.duration_s / _CLIP_S, wave.channels
        else:
            clips = arguments["duration_s"] / _CLIP_S
        steps = arguments.get("steps") or _USUAL_STEPS
        return math.ceil(_GPU_START_S + _GPU_STEP_S * steps * channels * (1 + _WINDOWS_A_CLIP * clips))


def sentence(error: Exception) -> str:
    """An error's text in the page's terms, with a capital, where it begins with a plain word, and a full stop."""
    text = re.sub(r"\b(?:" + "|".join(_LABELS) + r")\b", lambda name: f"{_LABELS[name[0]]} ({name[0]})",
                  str(error).strip())
    if text.partition(" ")[0].isalpha():
        text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
