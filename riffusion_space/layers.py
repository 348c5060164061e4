"""Sections on a canvas: which windows paint it, where their beats lie, and how loud they are.

A section's prompt counts for a column by how near the column's place in the order of the sections is to its own
(``arrangement``), so that a window that reaches over a border is predicted once with each prompt, and each counts on
its side: the regions of Bar-Tal, Yariv, Lipman and Dekel, "MultiDiffusion: Fusing Diffusion Paths for Controlled Image
Generation", 2023. Where a transition interpolates, there are prompts between the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from riffusion_space.arrangement import Section
from riffusion_space.denoise import STRIDE
from riffusion_space.tempo import BEATS_PER_BAR

_CONTEXT = 16  # latent columns beside a section that its windows may see
_MAX_EVEN = 10 ** (6 / 20)  # sections are made equally loud by at most so much, before their energies count
_CLEAR = 1.6  # times the mean: onsets that are so much stronger on the beat make one
_LOW_ROWS = 96  # bands that hold a bass drum


@dataclass(frozen=True, eq=False)
class Windows:
    """Where a canvas's windows begin, how much each of their columns counts (N, window), and the stop of each."""

    starts: tuple[int, ...]
    share: torch.Tensor
    stops: tuple[float, ...]


def windows(place: np.ndarray, stops: Sequence[float], window: int) -> Windows:
    """The windows that paint a canvas whose columns have these places (W,); W is at least ``window``."""
    starts: list[int] = []
    shares, owners = [], []
    for number, stop in enumerate(stops):
        points = [(stops[number - 1], 0.0)] if number else []
        points += [(stop, 1.0)]
        points += [(stops[number + 1], 0.0)] if number + 1 < len(stops) else []
        weight = np.interp(place, *zip(*points))
        seen = np.flatnonzero(weight)
        if not len(seen):
            continue
        for start in _starts(int(seen[0]), int(seen[-1]) + 1, window, len(place)):
            starts.append(start)
            shares.append(torch.from_numpy(weight[start : start + window]).float())
            owners.append(stop)
    return Windows(tuple(starts), torch.stack(shares), tuple(owners))


def _starts(first: int, end: int, window: int, width: int) -> list[int]:
    """Where windows begin that see columns ``first`` to ``end``, and as much beside them as comes for nothing."""
    length = end - first
    count = 1 + max(0, -(-(length - window) // int(STRIDE * window)))
    span = max(window, min(length + 2 * _CONTEXT, window + (count - 1) * int(STRIDE * window)))
    before = (span - length) // 2
    low, high = (min(max(at, 0), width - window) for at in (first - before, first - before + span - window))
    return [round(low + (high - low) * i / max(1, count - 1)) for i in range(count)]


def blended(values: torch.Tensor, stops: Sequence[float]) -> torch.Tensor:
    """What lies at places between the sections, of ``values`` (sections, ...), linearly: (stops, ...)."""
    at = torch.tensor(stops, dtype=torch.float64)
    below = at.floor().long()
    above = (below + 1).clamp(max=len(values) - 1)
    part = (at - below).to(values).reshape(-1, *[1] * (values.ndim - 1))
    return torch.lerp(values[below], values[above], part)


def on_the_beat(loop: torch.Tensor, beats: int) -> torch.Tensor:
    """A loop's picture (bands, columns), uint8, lowest band last, turned so that it begins with a beat.

    The beat is where onsets, folded to one beat, are strongest; the first of a bar is the one with most bass. A loop
    without a clear beat stays as it is.
    """
    columns = loop.shape[-1]
    sound = 255 - loop.float()
    rise = (sound - sound.roll(1, -1)).clamp(min=0)
    where = torch.arange(columns, dtype=torch.float64) * beats / columns  # in beats
    per_beat = max(2, round(columns / beats))
    phase = ((where % 1) * per_beat).long().clamp(max=per_beat - 1)
    folded = torch.zeros(per_beat).index_add_(0, phase, rise.sum(0))
    folded = (folded.roll(1) + 2 * folded + folded.roll(-1)) / 4
    if float(folded.max()) < _CLEAR * float(folded.mean()):
        return loop
    first = int(folded.argmax()) / per_beat * columns / beats
    bass = rise[-_LOW_ROWS:].sum(0)
    near = (where - int(folded.argmax()) / per_beat + 0.5).floor().long() % beats
    strength = torch.zeros(beats).index_add_(0, near, bass).reshape(-1, min(BEATS_PER_BAR, beats)).sum(0)
    return loop.roll(-round(first + int(strength.argmax()) * columns / beats), -1)


def even_gains(mel: torch.Tensor, place: np.ndarray, sections: Sequence[Section]) -> torch.Tensor:
    """What makes each section as loud as its energy says, of mel amplitudes (bands, columns): (columns,).

    Sections are made equally loud, within 6 dB, and then louder or softer as their energies say; in between, gains go
    over in decibels.
    """
    loudness = []
    for number in range(len(sections)):
        own = torch.from_numpy(np.abs(place - number) < 0.5)
        loudness.append(float(mel[:, own].square().mean().sqrt()) if own.any() else 0.0)
    heard = [level for level in loudness if level > 0]
    middle = math.exp(sum(map(math.log, heard)) / len(heard)) if heard else 1.0
    gains = [min(max(middle / level, 1 / _MAX_EVEN), _MAX_EVEN) if level > 0 else 1.0 for level in loudness]
    decibels = [20 * math.log10(gain) + section.level_db for gain, section in zip(gains, sections)]
    return torch.from_numpy(10 ** (np.interp(place, range(len(sections)), decibels) / 20)).float()


def level_of(number: int, samples: np.ndarray, edges: Sequence[int], sections: Sequence[Section]) -> float | None:
    """What the section of that index is to be as loud as, going by the others, as a factor of how loud it is.

    ``samples`` (channels, n) are those of the piece, ``edges`` where in them sections begin and the last ends. None
    where nothing tells.
    """
    rms = [float(np.sqrt(np.mean(samples[:, start:stop] ** 2))) for start, stop in pairwise(edges)]
    told = [level * 10 ** (-section.level_db / 20) for index, (level, section) in enumerate(zip(rms, sections))
            if index != number and level > 0]
    if not told or rms[number] == 0:
        return None
    return float(np.median(told)) * 10 ** (sections[number].level_db / 20) / rms[number]
