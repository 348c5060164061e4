"""From a request of the page or of an API client to files: waits for the checkpoint, runs the task, can be cancelled.

Gradio cancels in two ways. A Cancel button, or a client's ``job.cancel()``, cancels the coroutine that the request runs
in; a closed tab or connection calls ``unload``. Both set the request's flag, which the pipeline looks at in every step.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import spaces
from gradio.utils import get_upload_folder

from riffusion_space.audio import read_audio
from riffusion_space.config import Config
from riffusion_space.ui import picture
from riffusion_space.ui.loading import PipelineLoader

Made = tuple[str, str, dict[str, Any]]  # path of the sound, path of the picture, settings

_CLIP_S = 5.12
_GPU_START_S, _GPU_CLIP_S = 20, 2  # what a ZeroGPU is asked for: some seconds, and more for each clip


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
        self._make_on_gpu = spaces.GPU(duration=self._gpu_seconds)(self._make)

    async def run(self, task: str, request: gr.Request, **arguments: Any) -> Made:
        """Do one of the pipeline's tasks; the files lie in a folder that is this request's alone.

        Raises gr.Error with a sentence for bad input, and after ``cancel_session``.
        """
        # Inside Gradio's cache, where nothing is copied again and old files are deleted.
        folder = Path(get_upload_folder()).resolve() / uuid.uuid4().hex
        folder.parent.mkdir(parents=True, exist_ok=True)
        flag = CancelFlag(folder.with_suffix(".cancelled"))
        running = (request.session_hash, flag)
        self._running.add(running)
        try:
            return await asyncio.to_thread(self._make_on_gpu, task, arguments, folder, flag)
        except asyncio.CancelledError:
            flag.set()  # the thread runs on until it sees this
            raise
        finally:
            self._running.discard(running)

    def cancel_session(self, request: gr.Request) -> None:
        """Cancel whatever runs for a page that was closed or a client that has gone."""
        for session, flag in tuple(self._running):
            if session == request.session_hash:
                flag.set()

    def _make(self, task: str, arguments: dict[str, Any], folder: Path, flag: CancelFlag) -> Made:
        from riffusion_space.denoise import Cancelled  # after the page is up: it imports torch

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
        if task == "interpolate":
            clips = arguments["clips"]
        elif task == "audio2audio":
            clips = read_audio(arguments["audio"], self.config.max_seconds).duration_s / _CLIP_S
        else:
            clips = (arguments["duration_s"] or 0) / _CLIP_S
        return math.ceil(_GPU_START_S + _GPU_CLIP_S * clips)


def sentence(error: Exception) -> str:
    """An error's text with a capital, where it begins with a plain word, and a full stop."""
    text = str(error).strip()
    if text.partition(" ")[0].isalpha():
        text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
