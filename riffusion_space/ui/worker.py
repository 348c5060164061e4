"""From a request of the page or of an API client to files: waits for the checkpoint, runs the task, can be cancelled.

Gradio cancels in two ways. A Cancel button, or a client's ``job.cancel()``, cancels the coroutine that the request runs
in; a closed tab or connection calls ``unload``. Both set the request's flag, which the pipeline looks at in every step.

A page whose connection breaks may come back (``connection``): its requests go on for a while, or keep their place in
the line, and when the page that was loaded anew asks for the same, it is given those. That is why a request is a task
of its own, which the coroutine only waits for.
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
import math
import re
import shutil
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import spaces
from gradio.utils import get_upload_folder
from PIL import Image

from riffusion_space.arguments import check_arguments
from riffusion_space.arrangement import as_sections, length_s
from riffusion_space.audio import read_audio, write_audio
from riffusion_space.config import Config
from riffusion_space.images import read_image
from riffusion_space.request import Cancelled
from riffusion_space.spectrogram import SpectrogramParams
from riffusion_space.tempo import bar_s
from riffusion_space.ui import picture
from riffusion_space.ui.line import Line
from riffusion_space.ui.loading import PipelineLoader
from riffusion_space.ui.sentences import language_of, said

if TYPE_CHECKING:
    from riffusion_space.streaming import StreamChunk, StreamRequest, StreamState

Made = tuple[str, str, dict[str, Any]]  # path of the sound, path of the picture, settings
CONVERSIONS = ("image2audio", "audio2image")  # what needs no checkpoint

# What a ZeroGPU is asked for: some seconds, and more for each step of each window of each channel.
_CLIP_S, _WINDOWS_A_CLIP = 5.12, 1.5
_LEAST_LEFT_S = 2  # less is not worth saying
_PREVIEW_EVERY_S = 0.4
_HOUR_S = 3600
_GPU_START_S, _GPU_STEP_S, _USUAL_STEPS = 20, 0.05, 30
_GPU_CHUNK_S = 10  # for a chunk of a stream

# For how long a page that is gone may come back: to what is being made, while others wait for that or do not, to its
# place in the line, and to what was made.
AWAY_AND_WANTED_S, AWAY_S, PLACE_KEPT_S, RESULT_KEPT_S = 20.0, 60.0, 600.0, 600.0
_MOST_PAGES, _MOST_KEPT = 4096, 256
_LOOK_S = 0.3

# What the page calls an argument, where it is not the argument's own name.
_LABELS = {
    "prompt_a": "From", "prompt_b": "To", "negative_prompt": "Negative prompt", "duration_s": "Duration",
    "seed_b": "Seed at the end", "guidance_b": "Guidance at the end", "strength_b": "Strength at the end",
    "seed_image": "Seed image", "audio_a": "Begins as", "audio_b": "Ends as",
}


@dataclass(frozen=True)
class CancelFlag:
    """Like a threading.Event, but a file, so that the process that ZeroGPU forks for a request sees it too."""

    path: Path
    task: str = ""  # that it cancels
    language: str = "en"  # of whoever waits for it
    told: list[tuple[float, str]] = field(default_factory=list, compare=False)  # its last word on progress

    @property
    def preview(self) -> Path:
        """Where the request keeps the picture as far as it is."""
        return self.path.with_suffix(".preview")

    def set(self) -> None:
        self.path.touch()

    def is_set(self) -> bool:
        return self.path.exists()

    def remove(self) -> None:
        """Leave nothing of it, nor of the picture."""
        for file in (self.path, self.preview, self.preview.with_suffix(".part")):
            file.unlink(missing_ok=True)


@dataclass(eq=False)
class _Job:
    """One request: of which page, and what becomes of it."""

    task: str
    arguments: dict[str, Any] | None  # None for what cannot be come back to
    session: str | None
    flag: CancelFlag
    work: asyncio.Task[Any] | None = None
    has_begun: bool = False
    is_cancelled: bool = False
    ended: float | None = None
    offered_to: str | None = None  # a session of the same page, which may take it over


class Worker:
    """Runs the pipeline's tasks for the page."""

    def __init__(self, loader: PipelineLoader, config: Config) -> None:
        self.loader, self.config = loader, config
        at_once = config.requests_at_once
        self._pieces, self._chunks = Line(at_once, config.max_queue), Line(at_once, 2 * config.max_listeners)
        # For each seat a thread, and some for those that were cancelled and have yet to notice it.
        self._threads = ThreadPoolExecutor(2 * at_once + 4, "request")
        self._jobs: list[_Job] = []  # that run, wait, or have ended lately
        self._pages: OrderedDict[str | None, str] = OrderedDict()  # what Gradio calls a page's session, and its ticket
        self._away: dict[str | None, float] = {}  # sessions whose connection broke, and when
        self._swept = 0.0  # when folders without files were last removed
        self._make_on_gpu = spaces.GPU(duration=self._gpu_seconds)(self._make)
        self._stream_on_gpu = spaces.GPU(duration=_GPU_CHUNK_S)(self._stream)

    async def run(self, task: str, request: gr.Request, **arguments: Any) -> Any:
        """Do one of the pipeline's tasks, which gives what is ``Made``, or a conversion, which gives two paths.

        The files lie in a folder that is this request's alone. Raises gr.Error with a sentence for bad input, for a
        line that is full, and after a cancellation.
        """
        try:
            check_arguments(self.config, **arguments)  # before anything is waited for
        except ValueError as error:
            raise gr.Error(sentence(error), print_exception=False) from error
        session = request.session_hash
        offered = next((job for job in self._jobs
                        if session and (job.offered_to, job.task) == (session, task) and job.arguments == arguments),
                       None)
        if offered is not None:
            offered.session, offered.offered_to = session, None
            return await self._followed(offered)
        make = self._convert if task in CONVERSIONS else self._make_on_gpu
        return await self._cancellable(task, request, self._pieces, partial(make, task, arguments), arguments)

    async def next_chunk(self, request: gr.Request, state: StreamState, wanted: StreamRequest,
                         at_most: int | None = None) -> tuple[StreamChunk, StreamState, int]:
        """A stream's next chunk, the state after it, and the steps that it had if there was time for them.

        Args:
            at_most: steps that there is time for, where that is known.

        Raises:
            gr.Error: the stream cannot go on like that, or it was cancelled.
        """
        return await self._cancellable("stream", request, self._chunks,
                                       partial(self._stream_on_gpu, state, wanted, at_most))

    @property
    def pieces(self) -> int:
        """How many are being made."""
        return self._pieces.inside

    async def _cancellable(self, task: str, request: gr.Request, line: Line, make: Callable[[Path, CancelFlag], Any],
                           arguments: dict[str, Any] | None = None) -> Any:
        """What ``make`` gives in a thread, once it has a seat, for a folder that it may make, and a flag that it looks
        at. With ``arguments``, the page may come back to it.
        """
        # Inside Gradio's cache, where nothing is copied again and old files are deleted.
        folder = Path(get_upload_folder()).resolve() / uuid.uuid4().hex
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._sweep(folder.parent)
        self._forget()
        self._away.pop(request.session_hash, None)  # who asks is there, whatever became of its connection
        job = _Job(task, arguments, request.session_hash,
                   CancelFlag(folder.with_suffix(".cancelled"), task, language_of(request)))
        job.work = asyncio.create_task(self._made(job, line, make, folder))
        self._jobs.append(job)
        try:
            return await asyncio.shield(job.work)
        except asyncio.CancelledError:
            self._cancel(job)
            raise

    async def _made(self, job: _Job, line: Line, make: Callable[[Path, CancelFlag], Any], folder: Path) -> Any:
        flag = job.flag
        tell = _Report(flag).wait
        try:
            with _in_a_sentence():
                async with line.seat(lambda: job.session in self._away, tell):
                    job.has_begun = True
                    run = partial(contextvars.copy_context().run, make, folder, flag)
                    return await asyncio.get_running_loop().run_in_executor(self._threads, run)
        finally:
            job.ended = time.monotonic()
            flag.remove()  # a process that ZeroGPU ended could not do it
            if job.is_cancelled:  # it may have been done before it noticed
                shutil.rmtree(folder, ignore_errors=True)
            # What a page may come back to is kept a while: whether the page has it already, Gradio does not say.
            if job.is_cancelled or job.arguments is None or job.session not in self._pages:
                self._jobs.remove(job)

    async def _followed(self, job: _Job) -> Any:
        """What comes of a request that was begun for the page before it was loaded anew."""
        bar = gr.Progress()
        try:
            while not job.work.done():
                if job.flag.told:
                    bar(job.flag.told[-1][0], desc=job.flag.told[-1][1])
                await asyncio.wait([job.work], timeout=_LOOK_S)
            return await asyncio.shield(job.work)
        except asyncio.CancelledError:
            self._cancel(job)
            raise

    def _cancel(self, job: _Job) -> None:
        """Nobody waits for it any more; its thread runs on until it sees the flag."""
        if job.ended is None:
            job.is_cancelled = True
            job.flag.set()
            job.work.add_done_callback(lambda work: work.exception())  # asked for, or asyncio would report it

    def _forget(self) -> None:
        """Let go of what was made too long ago to be asked for, and of more than is bearable."""
        ended = [job for job in self._jobs if job.ended is not None]
        oldest = time.monotonic() - RESULT_KEPT_S
        forgotten = {id(job) for job in ended if job.ended < oldest} | {id(job) for job in ended[:-_MOST_KEPT]}
        self._jobs = [job for job in self._jobs if id(job) not in forgotten]

    def _sweep(self, cache: Path) -> None:
        """Remove, once an hour, what Gradio leaves: folders whose files it has deleted, and a file without content for
        every file that a component took.
        """
        now = time.time()
        if now - self._swept < _HOUR_S:
            return
        self._swept = now
        for entry in list(cache.iterdir()):
            with suppress(OSError):  # another app's, or it is gone already
                if now - entry.stat().st_mtime < _HOUR_S:
                    continue
                if entry.is_dir():
                    entry.rmdir()  # which it refuses where there are files
                elif entry.stat().st_size == 0:
                    entry.unlink()

    def arrived(self, ticket: str, task: str, session: str) -> None:
        """A page is there: the one that had this ticket before, though Gradio calls it another session.

        Args:
            ticket: what only this page can know.
            task: what it still waits for, if anything: it may ask for that once more.
        """
        former = (job for job in reversed(self._jobs) if job.task == task and job.session != session)
        if found := next((job for job in former if self._pages.get(job.session) == ticket), None):
            found.offered_to = session
        self._pages[session] = ticket
        while len(self._pages) > _MOST_PAGES:
            self._pages.popitem(last=False)

    async def left(self, request: gr.Request) -> None:
        """A page was closed, or its connection broke, which Gradio does not tell apart; or a client has gone.

        A page may come back. Until then, what is being made goes on, and what waits lets others go first.
        """
        session, now = request.session_hash, time.monotonic()
        if session not in self._pages:
            return self._give_up(session, of_all=True)
        self._away[session] = now

        def after(seconds: float, of_all: bool = False, if_wanted: bool = False) -> None:
            def give_up() -> None:
                if self._away.get(session) != now:  # it has been heard of since
                    return
                if not if_wanted or self._pieces.is_wanted:
                    self._give_up(session, of_all)

            asyncio.get_running_loop().call_later(seconds, give_up)

        after(AWAY_AND_WANTED_S, if_wanted=True)
        after(AWAY_S)
        after(PLACE_KEPT_S, of_all=True)

    def _give_up(self, session: str | None, of_all: bool) -> None:
        """Cancel what is being made for a session that is gone, and ``of_all`` also what waits."""
        for job in self._jobs:
            if job.session == session and job.ended is None and (of_all or job.has_begun):
                job.is_cancelled = True  # who comes back later has it made anew
                job.flag.set()
        if of_all:
            self._away.pop(session, None)
            self._pages.pop(session, None)

    def cancel_task(self, task: str, request: gr.Request) -> None:
        """Cancel what runs of one task for a page."""
        for job in tuple(self._jobs):
            if job.session == request.session_hash and job.task == task and job.ended is None:
                job.flag.set()

    def preview(self, task: str, request: gr.Request) -> str:
        """The picture, as far as it is, of a task that runs for a page, as HTML; nothing if there is none."""
        self._away.pop(request.session_hash, None)  # who looks is there
        for job in tuple(self._jobs):
            flag = job.flag
            if job.session == request.session_hash and job.task == task and flag.preview.exists():
                try:
                    png = flag.preview.read_bytes()
                except FileNotFoundError:  # it has just ended
                    continue
                return f'<img alt="The picture so far" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        return ""

    def _make(self, task: str, arguments: dict[str, Any], folder: Path, flag: CancelFlag) -> Made:
        with _reporting(flag) as report:
            pipeline = self.loader.wait(report)
            clip = getattr(pipeline, task)(**arguments, progress=report, cancel=flag)
            report(1.0, "Saving")
        folder.mkdir()
        sound = clip.save(folder / clip.file_name(".wav"))
        image = folder / clip.file_name("-spectrogram.png")
        picture.draw(clip.image).save(image)
        return str(sound), str(image), clip.settings

    def _stream(self, state: StreamState, wanted: StreamRequest, at_most: int | None, folder: Path,
                flag: CancelFlag) -> tuple[StreamChunk, StreamState, int]:
        from riffusion_space.streaming import MIN_STEPS, next_chunk, usual_steps  # which imports diffusers

        with _reporting(flag) as report:
            pipeline = self.loader.wait(report)
            usual = usual_steps(pipeline, wanted)
            steps = usual if at_most is None else min(usual, max(at_most, MIN_STEPS))
            chunk, after = next_chunk(pipeline, state, replace(wanted, steps=steps), progress=report, cancel=flag)
            return chunk, after, usual

    def _convert(self, task: str, arguments: dict[str, Any], folder: Path, flag: CancelFlag) -> tuple[str, str]:
        """Image to audio or audio to image: path of the result, path of a picture with axes.

        With ``peak_db`` the sound of an image has that peak; otherwise the image says how loud it is.
        """
        from riffusion_space.codec import decode, encode  # which imports torch

        longest = self.config.max_seconds
        with _reporting(flag) as report:
            if task == "audio2image":
                report(0.0, "Analysing the sound")
                wave = read_audio(arguments["audio"], longest)
                image = encode(wave)
            else:
                image = arguments["image"]  # as it is, or a file's path
                image = image if isinstance(image, Image.Image) else read_image(image)
                if image.width > SpectrogramParams().columns_for_seconds(longest):
                    raise ValueError(f"expected an image of at most {longest:g} s, got one {image.width} pixels wide")
                wave = decode(image, seed=arguments["seed"],
                              progress=lambda fraction: report(fraction, "Finding the sound of the picture"))
                if "peak_db" in arguments:
                    wave = wave.normalized(arguments["peak_db"])
            drawn = picture.draw(encode(wave.to_mono()))
        folder.mkdir()
        source = arguments[task.partition("2")[0]]
        name = "drawing" if isinstance(source, Image.Image) else Path(source).stem
        name = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "clip"
        if task == "audio2image":
            result = folder / f"{name}.png"
            image.save(result, exif=image.getexif())
        else:
            result = write_audio(wave, folder / f"{name}.wav")
        shown = folder / f"{name}-spectrogram.png"
        drawn.save(shown)
        return str(result), str(shown)

    def _gpu_seconds(self, task: str, arguments: dict[str, Any], folder: Path, flag: CancelFlag) -> int:
        """How long a request may hold a ZeroGPU, in seconds."""
        channels = 1
        if task == "arrange":  # each section has a loop and windows of its own
            sections = as_sections(arguments["sections"])
            clips = length_s(sections, arguments["bpm"]) / _CLIP_S + 2 * len(sections)
        elif task == "interpolate":
            clips = arguments["clips"]
        elif "audio" in arguments:
            try:
                wave = read_audio(arguments["audio"], self.config.max_seconds)
            except ValueError:  # the task itself will say so
                return _GPU_START_S
            seconds, channels = wave.duration_s, wave.channels
            if task == "inpaint":  # each region has its surroundings with it
                seconds = sum(end - start + _CLIP_S for start, end, *_ in arguments["regions"])
            elif task == "extend":
                seconds = arguments["seconds"] + _CLIP_S
            clips = seconds / _CLIP_S
        else:
            bars = arguments.get("bars")
            clips = (bars * bar_s(arguments["bpm"]) if bars else arguments["duration_s"]) / _CLIP_S
        steps = arguments.get("steps") or _USUAL_STEPS
        return math.ceil(_GPU_START_S + _GPU_STEP_S * steps * channels * (1 + _WINDOWS_A_CLIP * clips))


class _Report:
    """Shows a request's progress on the page and raises Cancelled.

    The picture as far as it is goes into a file, where the page looks for it: ZeroGPU makes it in another process.
    """

    def __init__(self, flag: CancelFlag) -> None:
        self._flag, self._bar = flag, gr.Progress()
        self._begun: tuple[float, float] | None = None  # when the first step was done, and which part of the work
        self._drawn = 0.0

    def __call__(self, fraction: float, text: str) -> None:
        self._check()
        now = time.monotonic()
        if text.startswith("Step"):
            self._begun = self._begun or (now, fraction)
        if self._begun and fraction > self._begun[1]:
            began, done = self._begun
            left = (now - began) / (fraction - done) * (1 - fraction)
            if left >= _LEAST_LEFT_S:
                text += f" · {left:.0f} s left"
        self._say(fraction, text)

    def wait(self, text: str) -> None:
        """While it waits: a text on that, or none, if nothing is new."""
        self._check()
        if text:
            self._say(0.0, text)

    def _check(self) -> None:
        if self._flag.is_set():
            raise Cancelled

    def _say(self, fraction: float, text: str) -> None:
        desc = said(text, self._flag.language)
        self._flag.told[:] = [(fraction, desc)]
        self._bar(fraction, desc=desc)

    def preview(self, image: Image.Image) -> None:
        """Keep what the page shows next; not every step's, which are more than anyone can see."""
        if time.monotonic() - self._drawn < _PREVIEW_EVERY_S:
            return
        self._drawn = time.monotonic()
        drawn = self._flag.preview.with_suffix(".part")
        picture.thumbnail(image).save(drawn, "png")
        drawn.replace(self._flag.preview)  # at once: the page never reads half of one


@contextmanager
def _reporting(flag: CancelFlag) -> Iterator[_Report]:
    """What shows progress and raises Cancelled; what goes wrong inside becomes a sentence on the page."""
    try:
        with _in_a_sentence():
            yield _Report(flag)
    finally:
        flag.remove()


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    """What goes wrong inside becomes a sentence on the page."""
    try:
        yield
    except gr.Error:  # which is a ValueError, too, and has its sentence
        raise
    except Cancelled as error:
        raise gr.Error("Cancelled.", print_exception=False) from error
    except ValueError as error:
        raise gr.Error(sentence(error), print_exception=False) from error


def sentence(error: Exception) -> str:
    """An error's text in the page's terms, with a capital, where it begins with a plain word, and a full stop."""
    text = re.sub(r"\b(?:" + "|".join(_LABELS) + r")\b", lambda name: f"{_LABELS[name[0]]} ({name[0]})",
                  str(error).strip())
    if text.partition(" ")[0].isalpha():
        text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
