"""Who waits for the model: first come, first served.

It stands in place of Gradio's own queue, which throws out whoever waits when the page's connection breaks, counts an
upload as a request that waits, and calls itself full in English only. Here, who is away keeps the place.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

_POLL_S = 0.05
_TOLD_EVERY_S = 1.0
_NEWEST = 0.3  # of how long a request takes, the share that the last one says


@dataclass(eq=False)
class _Waiting:
    is_away: Callable[[], bool]


class Line:
    """At most ``seats`` requests at a time, and ``most`` that wait. All of it is called in one event loop."""

    def __init__(self, seats: int, most: int) -> None:
        self._seats, self._most = seats, most
        self._waiting: list[_Waiting] = []
        self._inside = 0
        self._takes_s = 0.0  # one request, as a rule

    @property
    def inside(self) -> int:
        return self._inside

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits who is there."""
        return self._next() is not None

    @asynccontextmanager
    async def seat(self, is_away: Callable[[], bool], tell: Callable[[str], None]) -> AsyncIterator[None]:
        """Wait for a seat and hold it.

        Args:
            is_away: whether others go first.
            tell: called now and then, with a text on the place; what it raises ends the waiting.

        Raises:
            ValueError: as many wait as may.
        """
        await self._entered(is_away, tell)
        began = time.monotonic()
        try:
            yield
        finally:
            self._inside -= 1
            took = time.monotonic() - began
            self._takes_s = (1 - _NEWEST) * self._takes_s + _NEWEST * took if self._takes_s else took

    async def _entered(self, is_away: Callable[[], bool], tell: Callable[[str], None]) -> None:
        if self._inside >= self._seats and len(self._waiting) >= self._most:
            raise ValueError("the queue is full: try again in a moment")
        mine, told = _Waiting(is_away), 0.0
        self._waiting.append(mine)
        try:
            while self._inside >= self._seats or mine is not self._next():
                if time.monotonic() - told > _TOLD_EVERY_S:
                    told = time.monotonic()
                    tell(self._place(mine))
                else:
                    tell("")
                await asyncio.sleep(_POLL_S)
            self._inside += 1
        finally:
            self._waiting.remove(mine)

    def _next(self) -> _Waiting | None:
        return next((each for each in self._waiting if not each.is_away()), None)

    def _place(self, mine: _Waiting) -> str:
        place = self._waiting.index(mine) + 1
        text = f"In the queue: {place}/{len(self._waiting)}"
        left = self._takes_s * place / self._seats
        return f"{text} · {left:.0f} s left" if left >= 2 else text
