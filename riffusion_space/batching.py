"""Requests that run at the same time share the model: turns on a device, and calls of the UNet put together.

Every request runs its own denoising loop in its own thread, with its own scheduler, and so may begin, end or be
cancelled at any step. What they share is the call of the UNet, which takes rows (pictures) at timesteps of their own:
whatever waits when a call is due goes into it. A call is due when every loop that runs has asked for one, when as many
rows wait as fit, or when the first has waited a quarter of what a call takes: a loop that is busy with other things
holds nobody up for long. This is the continuous batching of language model servers (Yu et al., "Orca: A Distributed
Serving System for Transformer-Based Generative Models", 2022).

A row is computed from nothing but itself. Only the order of additions inside a kernel may depend on how many rows there
are, which is the last bits of a float: benchmarks/service.py says by how much samples differ.
"""

from __future__ import annotations

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


class Turns:
    """Who may use a device: several requests together, or one that wants it alone. First come, first served."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        self._inside = 0
        self._is_alone = False

    @contextmanager
    def together(self, seats: int, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold one of so many seats. ``waiting`` is called now and then until there is one; what it raises ends it."""
        with self._held(lambda: not self._is_alone and self._inside < seats, waiting):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the device while nobody else does."""
        with self._held(lambda: not self._inside, lambda: None, alone=True):
            yield

    @contextmanager
    def _held(self, free: Callable[[], bool], waiting: Callable[[], None], alone: bool = False) -> Iterator[None]:
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
        try:
            while not self._entered(ticket, free, alone):
                waiting()  # outside of the lock: it may take its time, or raise
        except BaseException:
            with self._changed:
                self._queue.remove(ticket)
                self._changed.notify_all()
            raise
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._is_alone = False
                self._changed.notify_all()

    def _entered(self, ticket: object, free: Callable[[], bool], alone: bool) -> bool:
        with self._changed:
            if not self._changed.wait_for(lambda: self._queue[0] is ticket and free(), _POLL_S):
                return False
            self._queue.popleft()
            self._inside += 1
            self._is_alone = alone
            self._changed.notify_all()  # who comes next may find a seat, too
            return True


@dataclass(eq=False)
class _Call:
    """What one loop wants predicted, and what came of it."""

    pictures: torch.Tensor
    timestep: torch.Tensor
    prompts: torch.Tensor
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
        self._changed = threading.Condition()
        self._waiting: list[_Call] = []
        self._loops = 0
        self._is_busy = False
        self._fixed_patience_s = patience_s
        self._patience_s = _FIRST_PATIENCE_S if patience_s is None else patience_s

    @contextmanager
    def loop(self) -> Iterator[None]:
        """Inside of this a loop calls the UNet: others wait for it, though not for long."""
        with self._changed:
            self._loops += 1
        try:
            yield
        finally:
            with self._changed:
                self._loops -= 1
                self._changed.notify_all()

    def __call__(self, pictures: torch.Tensor, timestep: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
        """The UNet's prediction for pictures (rows, channels, height, width) at one timestep (), with prompts (rows,
        tokens, width); what the UNet raises is raised in each thread whose rows were in the call.
        """
        call = _Call(pictures, timestep, prompts)
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
                left = self._waiting[0].since + self._patience_s - time.monotonic() if self._waiting else 0.0
                is_due = len(self._waiting) >= self._loops or left <= 0 \
                    or sum(waiting.rows for waiting in self._waiting) >= self._rows
                if self._waiting and not self._is_busy and is_due:
                    self._is_busy = True
                    return self._taken()
                self._changed.wait(left if left > 0 and not self._is_busy else None)
            return []

    def _taken(self) -> list[_Call]:
        """The call that has waited longest, and what fits beside it."""
        part, rows = [], 0
        for call in tuple(self._waiting):
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
                self._is_busy = False
                if self._fixed_patience_s is None:
                    self._patience_s = _PATIENCE * (time.monotonic() - began)
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
        """The UNet's prediction; in halves where the memory does not hold all rows at once."""
        try:
            return self._unet(pictures, timestep, encoder_hidden_states=prompts).sample
        except torch.OutOfMemoryError:
            if len(pictures) == 1:
                raise
        # Not in the handler: the error's traceback keeps what was computed so far in memory.
        half = len(pictures) // 2
        times = timestep.expand(len(pictures))
        return torch.cat([self._computed(*(whole[part] for whole in (pictures, times, prompts)))
                          for part in (slice(0, half), slice(half, None))])
