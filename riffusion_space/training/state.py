"""What every training stage shares: averaged weights, a state that survives interruption, a log of the loss."""

from __future__ import annotations

import csv
import os
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

AVERAGE_EVERY = 4  # steps: moving the average at each would cost a twentieth of a small model's training


@dataclass
class TrainingState:
    """A model in training, resumable from ``folder/state.pt``.

    ``step`` counts optimizer steps over all runs, ``seconds`` the time they took. ``average`` holds the exponential
    moving average of the weights (float32), whose decay warms up as (1 + step) / (10 + step) towards ``decay``.
    """

    folder: Path
    model: nn.Module
    optimizer: torch.optim.Optimizer
    decay: float = 0.999
    step: int = 0
    seconds: float = 0.0
    average: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._started = time.monotonic()
        path = self.folder / "state.pt"
        if path.exists():
            saved = torch.load(path, map_location="cpu", weights_only=True)
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.average, self.step, self.seconds = saved["average"], saved["step"], saved["seconds"]
            self._forget_steps_beyond()
        if not self.average:
            self.average = {name: value.detach().float().clone() for name, value in self.model.state_dict().items()}
        device = next(self.model.parameters()).device
        self.average = {name: value.to(device) for name, value in self.average.items()}

    def _forget_steps_beyond(self) -> None:
        """Drop the log's rows of steps that were taken but not saved: they are taken again."""
        log = self.folder / "log.csv"
        header, *rows = log.read_text().splitlines() if log.exists() else [""]
        kept = [row for row in rows if int(row.partition(",")[0]) <= self.step]
        if len(kept) < len(rows):
            log.write_text("\n".join([header, *kept]) + "\n")

    @torch.no_grad()
    def update(self, **figures: float) -> None:
        """Count a step: move the average and append a row to ``folder/log.csv``."""
        self.step += 1
        if self.step % AVERAGE_EVERY == 0:
            decay = min(self.decay, (1 + self.step) / (10 + self.step)) ** AVERAGE_EVERY
            moving = [(self.average[name], value.float()) for name, value in self.model.state_dict().items()
                      if value.is_floating_point()]
            torch._foreach_lerp_(*map(list, zip(*moving)), 1 - decay)
        now = time.monotonic()
        self.seconds += now - self._started
        self._started = now
        row = {"step": self.step, "seconds": round(self.seconds, 1)} | {k: f"{v:.5g}" for k, v in figures.items()}
        log = self.folder / "log.csv"
        fresh = not log.exists()
        with log.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if fresh:
                writer.writeheader()
            writer.writerow(row)

    def progress(self, steps: int, minutes: float | None) -> float:
        """The share of the training that is done: of ``minutes``, where they are given, else of ``steps``."""
        return self.seconds / (60 * minutes) if minutes else self.step / steps

    def save(self) -> None:
        """Write the state in one piece: a run that is killed while writing leaves the previous state."""
        partial = self.folder / "state.partial"
        torch.save({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
                    "average": self.average, "step": self.step, "seconds": self.seconds}, partial)
        os.replace(partial, self.folder / "state.pt")


def set_rate(optimizer: torch.optim.Optimizer, peak: float, step: int, done: float, warmup: int = 200) -> None:
    """Linear warm-up to ``peak``, constant until 60 % are ``done``, then linear to 2 % (warm-up, stable, decay)."""
    rate = peak * min((step + 1) / warmup, 1.0, max(0.02, (1 - done) / 0.4))
    for group in optimizer.param_groups:
        group["lr"] = rate


def half_precision(device: torch.device) -> AbstractContextManager:
    """bfloat16 autocast where it is faster: on a GPU, and on a CPU with AVX-512 (BF16 or AMX: twice as fast).

    With AVX2 alone its convolutions take forty times as long as in float32.
    """
    fast = device.type != "cpu" or torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)
