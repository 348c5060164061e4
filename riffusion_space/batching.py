"""Requests that run at the same time share the model: turns on a device, and calls of the UNet put together.

Every request runs its own denoising loop in its own thread, with its own scheduler, and so may begin, end or be
cancelled at any step. What they share is the call of the UNet, which takes rows (pictures) at timesteps of their own:
whatever waits when a call is due goes into it. A call is due when every loop that runs has asked for one, when as many
rows wait as fit, or when the first has waited a quarter of what a call takes: a loop that is busy with other things
holds nobody up for long. This is the continuous batching of language model servers (Yu et al., "Orca: A Distributed
Serving System for Transformer-Based Generative Models", 2022).

Music that goes on without end has to be there in time, and a chunk of it is short: it has seats of its own, and its
calls go ahead of those of pieces, which wait between two calls of theirs, though never for long.

A row is computed from nothing but itself. Only the order of additions inside a kernel may depend on how many rows there
are, which is the last bits of a number. In float32 next to nothing of it is left in the pixels; in half precision some
move by one or two of 255, and samples with them, as their phases are found anew: benchmarks/service.py says how many.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

ROWS_AT_ONCE = {"cuda": 32, "mps": 8, "cpu": 8}  # pictures in one call of the UNet
LOW_MEMORY_ROWS = 2
_POLL_S = 0.1
_PATIENCE, _FIRST_PATIENCE_S = 0.25, 0.02  # of the time of a call; and before there was one
_HELD_BACK = 3  # times what its last call took, for which a loop's call lets those ahead of it go first, at most


@dataclass(eq=False)
class _Ticket:
    """A place in the line for a device."""

    alone: bool = False


class Turns:
    """Who may use a device: several requests together, or one that wants it alone. First come, first served.

    Those that go ``ahead`` have a line and seats of their own, so that what is long does not hold up what is short. Who
    wants the device alone is first in its turn also before them.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lines: dict[bool, deque[_Ticket]] = {False: deque(), True: deque()}  # of those ahead, and of the others
        self._inside = {False: 0, True: 0}
        self._is_alone = False

    @contextmanager
    def together(self, seats: int, waiting: Callable[[], None] = lambda: None, ahead: bool = False) -> Iterator[None]:
        """Hold one of so many seats. ``waiting`` is called now and then until there is one; what it raises ends it."""
        with self._held(lambda: not self._is_alone and self._inside[ahead] < seats, waiting, _Ticket(), ahead):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the device while nobody else does."""
        with self._held(lambda: not any(self._inside.values()), lambda: None, _Ticket(alone=True), False):
            yield

    @contextmanager
    def _held(self, free: Callable[[], bool], waiting: Callable[[], None], ticket: _Ticket,
              ahead: bool) -> Iterator[None]:
        with self._changed:
            self._lines[ahead].append(ticket)
        try:
            while not self._entered(ticket, free, ahead):
                waiting()  # outside of the lock: it may take its time, or raise
        except BaseException:
            with self._changed:
                self._lines[ahead].remove(ticket)
                self._changed.notify_all()
            raise
        try:
            yield
        finally:
            with self._changed:
                self._inside[ahead] -= 1
                self._is_alone = False
                self._changed.notify_all()

    def _entered(self, ticket: _Ticket, free: Callable[[], bool], ahead: bool) -> bool:
        def is_next() -> bool:
            pieces = self._lines[False]
            if ahead and pieces and pieces[0].alone:  # else streams that follow each other would keep it out
                return False
            return self._lines[ahead][0] is ticket and free()

        with self._changed:
            if not self._changed.wait_for(is_next, _POLL_S):
                return False
            self._lines[ahead].popleft()
            self._inside[ahead] += 1
            self._is_alone = ticket.alone
            self._changed.notify_all()  # who comes next may find a seat, too
            return True


@dataclass(eq=False)
class _Call:
    """What one loop wants predicted, and what came of it."""

    pictures: torch.Tensor
    timestep: torch.Tensor
    prompts: torch.Tensor
    ahead: bool = False  # of those that are not
    since: float = field(default_factory=time.monotonic)
    prediction: torch.Tensor | None = None
    error: BaseException | None = None

    @property
    def rows(self) -> int:
        return len(self.pictures)

    @property
    def kind(self) -> tuple:
        """Calls of one kind fit into one tensor."""
        return self.pictures.shape[1:], self.pictures.dtype, self.prompts.shape[1:]

    @property
    def is_done(self) -> bool:
        return self.prediction is not None or self.error is not None


class SharedUnet:
    """A UNet that several denoising loops call at the same time, each from a thread of its own."""

    def __init__(self, unet: UNet2DConditionModel, rows: int, patience_s: float | None = None) -> None:
        """``rows``: most pictures in one call, unless a single loop brings more. ``patience_s``: how long a call waits
        for others, in place of what the calls themselves decide.
        """
        self._unet, self._rows = unet, rows
        self._fits: float = math.inf  # rows that the memory holds at once, as far as is known
        self._changed = threading.Condition()
        self._waiting: list[_Call] = []
        self._loops = {False: 0, True: 0}  # of those ahead, and of the others
        self._thread = threading.local()
        self._ahead = 0  # threads
        self._is_busy = False
        self._fixed_patience_s = patience_s
        self._patience_s = _FIRST_PATIENCE_S if patience_s is None else patience_s
        self._held_back_s = 0.0  # how long a call lets those ahead go first

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """Inside of this, the loops of this thread go ahead of those of other threads, which also leave it the device
        while it does something else.
        """
        self._thread.ahead = True
        with self._changed:
            self._ahead += 1
        try:
            yield
        finally:
            self._thread.ahead = False
            with self._changed:
                self._ahead -= 1
                self._changed.notify_all()

    @property
    def _goes_ahead(self) -> bool:
        return getattr(self._thread, "ahead", False)

    @contextmanager
    def loop(self) -> Iterator[None]:
        """Inside of this a loop calls the UNet: others wait for it, though not for long."""
        ahead = self._goes_ahead
        with self._changed:
            self._loops[ahead] += 1
        try:
            yield
        finally:
            with self._changed:
                self._loops[ahead] -= 1
                self._changed.notify_all()

    def __call__(self, pictures: torch.Tensor, timestep: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
        """The UNet's prediction for pictures (rows, channels, height, width) at one timestep (), with prompts (rows,
        tokens, width); what the UNet raises is raised in each thread whose rows were in the call.
        """
        call = _Call(pictures, timestep, prompts, self._goes_ahead)
        with self._changed:
            self._waiting.append(call)
            self._changed.notify_all()
        while not call.is_done:
            if part := self._next_part(call):
                self._run(part)
        if call.error is not None:
            raise call.error
        return call.prediction

    def _next_part(self, call: _Call) -> list[_Call]:
        """The calls that this thread has to run now; none once ``call`` is done."""
        with self._changed:
            while not call.is_done:
                now = time.monotonic()
                ready = self._ready(now)
                if ready:
                    left = ready[0].since + self._patience_s - now
                    beside = [each for each in ready if each.ahead == ready[0].ahead]
                    is_due = len(beside) >= self._loops[ready[0].ahead] or left <= 0 \
                        or sum(each.rows for each in ready) >= self._rows
                    if is_due and not self._is_busy:
                        self._is_busy = True
                        return self._taken(ready)
                else:  # all that wait let others go first
                    left = min((each.since + self._held_back_s - now for each in self._waiting), default=0.0)
                self._changed.wait(left if left > 0 and not self._is_busy else None)
            return []

    def _ready(self, now: float) -> list[_Call]:
        """The calls that wait, who comes first in front; without those that let others go first.

        While a thread is there that goes ahead, that is all others, until they have waited for too long: then they are
        first.
        """
        if not self._ahead:
            return list(self._waiting)
        late = [each for each in self._waiting if not each.ahead and now >= each.since + self._held_back_s]
        return late + [each for each in self._waiting if each.ahead]

    def _taken(self, ready: list[_Call]) -> list[_Call]:
        """The call that comes first, and what fits beside it."""
        part, rows = [], 0
        for call in ready:
            if not part or (call.kind == part[0].kind and rows + call.rows <= self._rows):
                part.append(call)
                rows += call.rows
                self._waiting.remove(call)
        return part

    def _run(self, part: list[_Call]) -> None:
        began = time.monotonic()
        try:
            self._predict(part)
        except BaseException as error:  # each thread has to be told, whatever it is
            for call in part:
                call.error = call.error or error
        finally:
            with self._changed:
                took = time.monotonic() - began
                self._is_busy = False
                if self._fixed_patience_s is None:
                    self._patience_s = _PATIENCE * took
                if not part[0].ahead:
                    self._held_back_s = _HELD_BACK * took
                self._changed.notify_all()

    def _predict(self, part: list[_Call]) -> None:
        for call, prediction in zip(part, self._predicted(part)):
            call.prediction = prediction

    def _predicted(self, part: list[_Call]) -> list[torch.Tensor]:
        if len(part) == 1:
            pictures, timestep, prompts = part[0].pictures, part[0].timestep, part[0].prompts
        else:
            pictures, prompts = (torch.cat([getattr(call, name) for call in part]) for name in ("pictures", "prompts"))
            timestep = torch.cat([call.timestep.expand(call.rows) for call in part])
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        return list(self._computed(pictures, timestep, prompts).split([call.rows for call in part]))

    def _computed(self, pictures: torch.Tensor, timestep: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
        """The UNet's prediction; in halves where the memory does not hold all rows at once, from then on."""
        if len(pictures) <= self._fits:
            try:
                return self._unet(pictures, timestep, encoder_hidden_states=prompts).sample
            except torch.OutOfMemoryError:
                if len(pictures) == 1:
                    raise
                self._fits = len(pictures) - 1
        # Not in the handler: the error's traceback keeps what was computed so far in memory.
        half = len(pictures) // 2
        times = timestep.expand(len(pictures))
        return torch.cat([self._computed(*(whole[part] for whole in (pictures, times, prompts)))
                          for part in (slice(0, half), slice(half, None))])
