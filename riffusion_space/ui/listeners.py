"""Where streams are between their chunks: kept on the server, bounded, gone when nobody comes back for them.

A listener gets a handle in place of each state, and gives it to go on from there; an earlier one goes on from earlier,
as long as it is kept. On the server rather than with the listener, because a state is half a megabyte that would travel
both ways with every chunk, and because what comes from elsewhere would have to be distrusted as a file is. A handle
cannot be guessed, so nobody comes by the state of another.
"""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from riffusion_space.streaming import StreamState

KEPT = 8  # states of a listener: the last 20 s
IDLE_S = 300.0  # after which a listener counts as gone
BUSY_S = 20.0  # a listener who asked within this time does not make room for a new one


@dataclass
class _Listener:
    session: str | None
    seen: float
    made: int = 0
    states: OrderedDict[str, StreamState] = field(default_factory=OrderedDict)
    folders: dict[str, Path] = field(default_factory=dict)  # of some states


class Listeners:
    """The states of at most ``most`` listeners. All methods may be called from any thread."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock, self._lock = most, clock, threading.Lock()
        self._listeners: dict[str, _Listener] = {}

    def __len__(self) -> int:
        return len(self._listeners)

    def begin(self, state: StreamState, session: str | None = None) -> str:
        """Handle of a new listener's first state; ``forget(session)`` frees it.

        Raises ValueError when as many as are allowed listen already.
        """
        with self._lock:
            self._expire()
            while len(self._listeners) >= self._most:
                name, idlest = min(self._listeners.items(), key=lambda item: item[1].seen)
                if self._clock() - idlest.seen < BUSY_S:
                    raise ValueError(f"expected at most {self._most} listeners at a time, and as many are here: "
                                     "try again in a while")
                self._drop(name)
            name = secrets.token_hex(16)
            self._listeners[name] = _Listener(session, self._clock())
            return self._add(name, state)

    def state(self, handle: str) -> StreamState:
        """The state that a handle stands for. Raises ValueError when it is not, or no longer, kept."""
        name, _, number = handle.partition("-")
        with self._lock:
            self._expire()
            if not self.knows(handle):
                raise ValueError("expected the state of a stream that is going on, got one that is not known, or no "
                                 "longer: leave it out to begin anew")
            listener = self._listeners[name]
            listener.seen = self._clock()
            return listener.states[number]

    def knows(self, handle: str) -> bool:
        """Whether a handle still stands for a state."""
        name, _, number = handle.partition("-")
        listener = self._listeners.get(name)
        return listener is not None and number in listener.states

    def follow(self, handle: str, state: StreamState) -> str:
        """Handle of the state after that of ``handle``; one that stands for nothing if the listener has left."""
        name = handle.partition("-")[0]
        with self._lock:
            return self._add(name, state) if name in self._listeners else handle

    def keep(self, handle: str, folder: Path) -> None:
        """Have a folder removed when the state of ``handle`` is; at once if that has happened."""
        name, _, number = handle.partition("-")
        with self._lock:
            if self.knows(handle):
                self._listeners[name].folders[number] = folder
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def forget(self, session: str | None) -> None:
        """Free what the listeners of a page that was closed held."""
        with self._lock:
            for name in [name for name, listener in self._listeners.items() if listener.session == session]:
                self._drop(name)

    def drop(self, handle: str) -> None:
        """Free what the one listener of a handle held, who may be gone already."""
        with self._lock:
            if handle.partition("-")[0] in self._listeners:
                self._drop(handle.partition("-")[0])

    def _add(self, name: str, state: StreamState) -> str:
        listener = self._listeners[name]
        number, listener.made, listener.seen = str(listener.made), listener.made + 1, self._clock()
        listener.states[number] = state
        while len(listener.states) > KEPT:
            oldest, _ = listener.states.popitem(last=False)
            if oldest in listener.folders:
                shutil.rmtree(listener.folders.pop(oldest), ignore_errors=True)
        return f"{name}-{number}"

    def _expire(self) -> None:
        oldest = self._clock() - IDLE_S
        for name in [name for name, listener in self._listeners.items() if listener.seen < oldest]:
            self._drop(name)

    def _drop(self, name: str) -> None:
        for folder in self._listeners.pop(name).folders.values():
            shutil.rmtree(folder, ignore_errors=True)
