"""What keeps a long piece on one beat: its windows start from one loop of whole bars, repeated.

Windows that are denoised together agree where they overlap, yet a model that has seen five seconds at a time loses the
beat a few windows on. So a loop is painted first, on a circular canvas (``denoise``), and the piece by img2img from it:
Forsgren and Martiros's seed images (Riffusion, 2022), except that the piece makes its own. The noise, too, repeats in
part. The loop is a whole number of columns of the canvas; where bars are not, the picture is stretched in time, most
often by less than a hundredth, and its pitch stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from riffusion_space.audio import Waveform
from riffusion_space.tempo import bar_s, steady_beat

# What repeats has noise of its own: with that of the piece, whose first columns it is, the variance there would be two.
SHARED_NOISE = 0x2545F491
BEAT_NOISE = 0x6A09E667
LOOP_STEPS = 0.6  # of those of a piece: a loop is there to be painted over
WRAP = 4  # latent columns of a loop's beginning that one window has to see after its end
_LONGEST_BARS_S = 12.0  # of a sound that goes on


@dataclass(frozen=True)
class Period:
    """A loop of ``columns`` of the canvas that is to last ``exact`` columns' time."""

    columns: int
    exact: float

    @property
    def stretch(self) -> float:
        """Columns of the canvas to a column's time."""
        return self.columns / self.exact


def open_period(window: int, column_s: float, bpm: float | None) -> Period:
    """The bars that fit a window of so many columns, ``column_s`` each, at least one; without a tempo the window.

    >>> open_period(64, 0.08, 120), open_period(64, 0.08, None)
    (Period(columns=50, exact=50.0), Period(columns=64, exact=64.0))
    """
    if bpm is None:
        return Period(window, float(window))
    bar = bar_s(bpm) / column_s
    exact = max(1, math.floor(window / bar)) * bar
    return Period(round(exact), exact)


def closed_period(width: float, window: int, column_s: float, bpm: float | None) -> tuple[Period, int]:
    """As :func:`open_period`, but of a loop of ``width`` columns that it divides; and how often it goes into it."""
    times = max(1, round(width / window))
    if bpm is not None:
        bars = max(1, round(width * column_s / bar_s(bpm)))
        together = max(1, math.floor(window * column_s / bar_s(bpm)))
        times = bars // max(n for n in range(1, together + 1) if bars % n == 0)
    return Period(round(width / times), width / times), times


def repeated(part: torch.Tensor, width: int) -> torch.Tensor:
    """(..., n) over and over, (..., width)."""
    return part[..., torch.arange(width, device=part.device) % part.shape[-1]]


def mixed_noise(shared: torch.Tensor, free: torch.Tensor, steadiness: float) -> torch.Tensor:
    """Noise of variance 1 that repeats ``shared`` (..., n) to a share, and is ``free`` (..., W) for the rest."""
    return steadiness**0.5 * repeated(shared, free.shape[-1]) + (1 - steadiness) ** 0.5 * free


def beating_noise(beat: torch.Tensor, free: torch.Tensor, columns: float, share: float) -> torch.Tensor:
    """Noise of variance 1 that is ``beat`` (..., at least ``columns``) to a share, again after each ``columns``, which
    need not be whole; and ``free`` (..., W) for the rest.

    A model that hears of a tempo in words alone comes near it; what it paints is laid out as its noise is, and noise
    with a beat holds it to that one.
    """
    since = (torch.arange(free.shape[-1], dtype=torch.float64) + 1e-6) % columns
    return share**0.5 * beat[..., since.long()] + (1 - share) ** 0.5 * free


def with_bars_again(wave: Waveform, added: int, at_end: bool, usual_s: float) -> np.ndarray:
    """A sound with its last bars over and over after its end, or its first ones before its beginning.

    Samples (channels, n + added). A sound without a steady beat gives its last or first ``usual_s`` seconds.
    """
    beat = steady_beat(wave)
    seconds = usual_s if beat is None else beat.bars_s(min(_LONGEST_BARS_S, wave.duration_s))
    period = min(max(1, round(seconds * wave.sample_rate)), wave.num_samples)
    if at_end:
        bars = wave.samples[:, -period:]
        return np.concatenate([wave.samples, bars[:, np.arange(added) % period]], 1)
    bars = wave.samples[:, :period]
    return np.concatenate([bars[:, np.arange(-added, 0) % period], wave.samples], 1)
