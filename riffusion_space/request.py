"""One request's progress, and the place where it notices that it was cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from PIL import Image

Progress = Callable[[float, str], None]  # a fraction, 0 to 1, and what is being done


@runtime_checkable
class Previewing(Protocol):
    """A ``Progress`` that also wants to see the picture as far as it is."""

    def preview(self, image: Image.Image) -> None:
        """A small picture, one channel, dark where there is sound; called after every step."""


class Cancelled(Exception):
    """The request was cancelled; nothing was made."""


class Request:
    """Tells how far a request is; a part of the work tells it as a part of the whole."""

    def __init__(self, progress: Progress | None = None, cancel: threading.Event | None = None,
                 preview: Callable[[Image.Image], None] | None = None) -> None:
        """``preview`` is what wants to see the picture while it is being painted; a ``Previewing`` one does."""
        self._progress, self.cancel = progress, cancel
        self.preview = progress.preview if isinstance(progress, Previewing) else preview

    def report(self, fraction: float, text: str) -> None:
        """Tell how far the work is, 0 to 1. Raises Cancelled when the request was cancelled."""
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled("cancelled")
        if self._progress is not None:
            self._progress(fraction, text)

    def stage(self, start: float, stop: float, text: str) -> Callable[[float], None]:
        """Progress of a part of the work, from 0 to 1, as that part of the whole."""
        return lambda fraction: self.report(start + (stop - start) * fraction, text)

    def within(self, start: float, stop: float) -> Request:
        """A request whose progress from 0 to 1 is that part of this one's."""
        return Request(lambda fraction, text: self.report(start + (stop - start) * fraction, text), self.cancel,
                       self.preview)
