"""The stages of a request by name, noticed only while somebody records them: one look at a variable otherwise."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Stages:
    """Seconds that each stage took, without the stages inside of it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._running: list[str] = []
        self._since = 0.0

    @property
    def current(self) -> str:
        """The innermost stage that runs; "" outside of all."""
        return self._running[-1] if self._running else ""

    def enter(self, name: str) -> None:
        self._count()
        self._running.append(name)
        self.calls[name] += 1

    def leave(self) -> None:
        self._count()
        self._running.pop()

    def _count(self) -> None:
        _wait_for_gpu()
        now = time.perf_counter()
        if self._running:
            self.seconds[self.current] += now - self._since
        self._since = now


_RECORDING: ContextVar[Stages | None] = ContextVar("stages", default=None)


@contextmanager
def recorded() -> Iterator[Stages]:
    """Record the stages of what runs inside, in this thread."""
    stages = Stages()
    token = _RECORDING.set(stages)
    try:
        yield stages
    finally:
        _RECORDING.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Around a stage, or as a decorator on a function that is one."""
    stages = _RECORDING.get()
    if stages is None:
        yield
        return
    stages.enter(name)
    try:
        yield
    finally:
        stages.leave()


def _wait_for_gpu() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
