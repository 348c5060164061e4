"""The checkpoint, loaded behind the page's back: the page is there at once and tells how far the loading is."""

from __future__ import annotations

import html
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from riffusion_space.config import Config
from riffusion_space.lora import parse_loras
from riffusion_space.request import Progress
from riffusion_space.ui.sentences import said

if TYPE_CHECKING:
    from riffusion_space.pipeline import RiffusionPipeline

_POLL_S = 0.2


@dataclass(frozen=True)
class LoadState:
    """How far the loading is: ``phase`` is "loading", "ready" or "failed"; ``text`` one sentence on it."""

    phase: str = "loading"
    text: str = "Starting"
    fraction: float = 0.0
    pipeline: RiffusionPipeline | None = None

    @property
    def banner(self) -> str:
        """The state as HTML, for the top of the page, in English."""
        return self.banner_in("en")

    def banner_in(self, language: str) -> str:
        """The same in another language, as far as there are words for it."""
        text = html.escape(said(self.text, language))
        if self.pipeline and self.pipeline.lora_weights:
            text += html.escape(f" LoRA: {', '.join(self.pipeline.lora_weights)}.")
        if self.phase == "failed":
            text += f" {said('Generate tries again.', language)}"
        elif self.phase == "loading" and self.fraction:
            text += f" · {self.fraction:.0%}"
        return f'<div class="banner {self.phase}" role="status"><span class="lamp"></span><span>{text}</span></div>'


class PipelineLoader:
    """Loads the configured pipeline in a thread of its own, once, for all requests."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._turn = 0  # of what is loaded: what was begun earlier has nothing more to say
        self._thread = threading.Thread()
        self.state = LoadState()

    def start(self) -> threading.Thread:
        """Begin to load, unless that is under way or done; after a failure, try again. The thread that loads."""
        with self._lock:
            if self.state.phase != "ready" and not self._thread.is_alive():
                self.state = LoadState()
                self._turn += 1
                self._thread = threading.Thread(target=self.load, args=(self._turn,), name="load checkpoint",
                                                daemon=True)
                self._thread.start()
            return self._thread

    def wait(self, progress: Progress) -> RiffusionPipeline:
        """The pipeline, once it is there; ``progress`` is called meanwhile and may raise to give up waiting.

        Raises:
            ValueError: the checkpoint cannot be loaded.
        """
        thread = self.start()
        while self.state.phase == "loading":
            progress(self.state.fraction, self.state.text)
            thread.join(_POLL_S)
        if self.state.pipeline is None:
            raise ValueError(self.state.text)
        return self.state.pipeline

    def change(self, checkpoint: str, progress: Progress, device: str | None = None) -> None:
        """Load another checkpoint in this thread, without LoRAs, and have it play from the next request on.

        Args:
            device: such as "cpu" or "cuda:1"; None takes the best there is.

        Raises:
            ValueError: it cannot be loaded; what played before plays on.
        """
        pipeline = self._pipeline(checkpoint, progress, device)
        with self._lock:
            self._turn += 1
            self.state = LoadState("ready", pipeline.checkpoint.reason, 1.0, pipeline)

    def _pipeline(self, checkpoint: str, progress: Progress, device: str | None) -> RiffusionPipeline:
        from riffusion_space.pipeline import RiffusionPipeline  # torch and diffusers take seconds to import

        config = replace(self._config, device=device)  # which from_pretrained falls back to
        return RiffusionPipeline.from_pretrained(checkpoint, device, progress=progress, config=config)

    def load(self, turn: int = 0) -> None:
        """Load in this thread; how it went stands in ``state``, unless something else was loaded meanwhile."""
        def report(fraction: float, text: str) -> None:
            self._tell(turn, LoadState("loading", text, fraction))

        try:
            pipeline = self._pipeline(self._config.checkpoint, report, self._config.device)
            for source, weight in parse_loras(self._config.lora):
                pipeline.load_lora(source, weight)
            if self._config.warm_up:
                pipeline.warm_up(report)
        except Exception as error:  # whatever it is, the page has to say so: nobody else waits for this thread
            self._tell(turn, LoadState("failed", str(error)))
            if not isinstance(error, ValueError):
                raise
        else:
            self._tell(turn, LoadState("ready", pipeline.checkpoint.reason, 1.0, pipeline))

    def _tell(self, turn: int, state: LoadState) -> None:
        with self._lock:
            if turn == self._turn:
                self.state = state
