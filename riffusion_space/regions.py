"""Regions of a sound that are made anew, and how what is new is set into what is kept.

A region is a span of time, all of the sound there or a band of its frequencies. What lies outside stays as it is,
sample for sample. Where new and kept meet, the difference between them just outside is mirrored into the region and
faded out there: the join is continuous, and nothing of what was replaced is heard again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from riffusion_space.spectrogram import SpectrogramParams

MIN_REGION_S = 0.1
MIN_BAND_HZ = 50
JOIN_S = 0.02  # over which new gives way to kept, inside the region
_SLACK_S = 0.01  # an end that was rounded to two places may lie so far behind that of the sound

_NUMBER = r"\d+(?:\.\d*)?|\.\d+"
_TEXT = re.compile(rf"({_NUMBER})-({_NUMBER})(?::({_NUMBER})-({_NUMBER}))?")


@dataclass(frozen=True)
class Region:
    """A span of time in seconds, and the band in Hz that is meant; None: all of it."""

    start_s: float
    end_s: float
    low_hz: float | None = None
    high_hz: float | None = None

    @property
    def is_band(self) -> bool:
        return self.low_hz is not None

    def __str__(self) -> str:
        band = f", {self.low_hz:g} to {self.high_hz:g} Hz" if self.is_band else ""
        return f"{self.start_s:g} to {self.end_s:g} s{band}"

    def span(self, rate: int, samples: int) -> slice:
        """Its samples in a sound of so many."""
        return slice(round(self.start_s * rate), min(round(self.end_s * rate), samples))


def as_regions(value: Any, params: SpectrogramParams) -> tuple[Region, ...]:
    """Regions from a list of (start, end) in seconds or (start, end, low, high) in seconds and Hz.

    Whole regions that overlap or touch become one.

    Raises:
        ValueError: the list is empty or holds something else, a region is shorter than 0.1 s or ends before it starts,
            or a band is narrower than 50 Hz or goes beyond what a spectrogram holds.
    """
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not value:
        raise ValueError(f"expected regions to be a list of at least one (start, end), got {value!r}")
    regions = sorted((_region(item, params) for item in value), key=lambda region: region.start_s)
    whole: list[Region] = []
    for region in regions:
        if region.is_band:
            continue
        if whole and region.start_s <= whole[-1].end_s:
            whole[-1] = Region(whole[-1].start_s, max(whole[-1].end_s, region.end_s))
        else:
            whole.append(region)
    return (*(region for region in regions if region.is_band), *whole)


def _region(item: Any, params: SpectrogramParams) -> Region:
    if isinstance(item, (str, bytes)) or not isinstance(item, Sequence) or len(item) not in (2, 4):
        raise ValueError(f"expected a region as (start, end) or (start, end, low Hz, high Hz), got {item!r}")
    band = tuple(item[2:])
    if band == (None, None):
        band = ()
    for number in (*item[:2], *band):
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            raise ValueError(f"expected a region of finite numbers, got {tuple(item)!r}")
    region = Region(*map(float, (*item[:2], *band)))
    if region.start_s < 0:
        raise ValueError(f"expected a region that starts at 0 s or later, got {region}")
    if region.end_s - region.start_s < MIN_REGION_S - 1e-9:
        raise ValueError(f"expected a region of at least {MIN_REGION_S:g} s, got {region}")
    if band and not (params.min_frequency <= region.low_hz <= region.high_hz - MIN_BAND_HZ
                     and region.high_hz <= params.max_frequency):
        raise ValueError(f"expected a band at least {MIN_BAND_HZ} Hz wide within {params.min_frequency} to "
                         f"{params.max_frequency} Hz, got {region.low_hz:g} to {region.high_hz:g} Hz")
    return region


def parse_region(text: str) -> list[float]:
    """A region as the command line has it.

    >>> parse_region("1.5-3:200-2000")
    [1.5, 3.0, 200.0, 2000.0]

    Raises:
        ValueError: the text is none.
    """
    match = _TEXT.fullmatch(text.strip())
    if not match:
        raise ValueError(f"expected a region such as 1.5-3.0 or 1.5-3.0:200-2000, got {text!r}")
    return [float(number) for number in match.groups() if number is not None]


def check_inside(regions: Sequence[Region], duration_s: float) -> None:
    """Raise ValueError for a region that a sound of ``duration_s`` does not have."""
    for region in regions:
        if region.end_s > duration_s + _SLACK_S or duration_s - region.start_s < MIN_REGION_S - 1e-9:
            raise ValueError(f"expected a region inside the sound of {duration_s:.2f} s, got {region}")


@dataclass(frozen=True)
class Stretch:
    """A part of a sound that is looked at as one picture: regions, and around them what they have to fit.

    It begins at sample ``start``, is ``columns`` wide, and may go on beyond the end of the sound.
    """

    start: int
    columns: int
    regions: tuple[Region, ...]

    def cut(self, samples: np.ndarray, hop: int) -> np.ndarray:
        """Its samples (channels, columns * hop) of (channels, n); beyond the end the sound is mirrored."""
        part = samples[:, self.start : self.start + self.columns * hop]
        missing = self.columns * hop - part.shape[1]
        # The mirror reaches back before the stretch if it has to.
        source = samples if missing > part.shape[1] else part
        return np.pad(source, ((0, 0), (0, missing)), "symmetric")[:, -self.columns * hop :] if missing else part

    def times(self, region: Region, samples: int, params: SpectrogramParams) -> tuple[float, float]:
        """Where a region of a sound of so many samples starts and stops, in columns from this stretch's first.

        One that ends with the sound does not stop: beyond, nothing is there to be fitted.
        """
        span = region.span(params.sample_rate, samples)
        stop = (span.stop - self.start) / params.hop_length
        return (span.start - self.start) / params.hop_length, math.inf if span.stop == samples else stop


def stretches(regions: Sequence[Region], samples: int, params: SpectrogramParams, window: int, scale: int,
              ) -> list[Stretch]:
    """The stretches of a sound that have to be looked at, each at least ``window`` columns and a multiple of ``scale``.

    A region sees half a window of what is around it, or more: a quarter on either side, where there is that much. A
    stretch that another region reaches into holds that as well.
    """
    rate, hop = params.sample_rate, params.hop_length

    def around(group: tuple[Region, ...]) -> Stretch:
        spans = [region.span(rate, samples) for region in group]
        first, last = min(span.start for span in spans), max(span.stop for span in spans)
        quarter = window * hop // 4
        before, after = min(quarter, first), min(quarter, samples - last)
        start = max(0, first - 2 * quarter + after)
        stop = min(samples, last + 2 * quarter - before)
        # One column more: sound reaches only as far as the middle of the last.
        columns = max(window, -(-(stop - start) // hop) + 1)
        columns = -(-columns // scale) * scale
        spare = columns * hop - (stop - start)
        start = max(min(start - spare // 2, samples + hop - columns * hop), stop + hop - columns * hop, 0)
        return Stretch(start, columns, group)

    found = [around((region,)) for region in sorted(regions, key=lambda region: region.start_s)]
    merged = True
    while merged:
        merged = False
        for i in range(len(found) - 1):
            one, two = found[i : i + 2]
            reach = one.start + one.columns * hop
            if any(region.span(rate, samples).start < reach for region in two.regions) or any(
                    region.span(rate, samples).stop > two.start for region in one.regions):
                found[i : i + 2] = [around((*one.regions, *two.regions))]
                merged = True
                break
    return found


def coverage(low: float, high: float, cells: int, size: float = 1.0, offset: float = 0.0) -> np.ndarray:
    """How much of each of ``cells`` lies from ``low`` to ``high``; cell i begins at ``i * size - offset``. float32.

    >>> coverage(1, 2.5, 4).tolist()
    [0.0, 1.0, 0.5, 0.0]
    """
    edges = np.arange(cells + 1) * size - offset
    return np.maximum((np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)) / size, 0).astype(np.float32)


def mask(stretch: Stretch, samples: int, params: SpectrogramParams, scale: int = 1) -> np.ndarray:
    """How much of each cell of a stretch's picture lies in a region, highest frequency first.

    float32 (rows, columns) in 0..1. A cell is ``scale`` bands high and ``scale`` columns wide.
    """
    rows, columns = params.num_frequencies // scale, stretch.columns // scale
    result = np.zeros((rows, columns), np.float32)
    for region in stretch.regions:
        start, stop = stretch.times(region, samples, params)
        across = coverage(start, stop, columns, scale, 0.5)
        up = np.ones(rows, np.float32)
        if region.is_band:
            low, high = params.hz_to_band(region.low_hz), params.hz_to_band(region.high_hz)
            up = coverage(low, high, rows, scale, 0.5)[::-1]
        result = np.maximum(result, up[:, None] * across)
    return result


def set_in(old: np.ndarray, new: np.ndarray, span: slice, region: Region, rate: int, ends: tuple[bool, bool],
           ) -> np.ndarray:
    """``old`` samples (channels, n) with those of ``new`` in a region.

    Args:
        span: the region's samples. Outside, the result is ``old``.
        ends: whether the sound begins, or ends, with the region, so that nothing is joined there.

    Returns:
        (channels, n) float32.
    """
    joined = old.copy()
    joined[:, span] = new[:, span]
    length = span.stop - span.start
    # The fades of a short region do not overlap.
    fade = min(round(JOIN_S * rate), length // 2)
    falling = (0.5 + 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)).astype(np.float32)
    difference = old - new
    before, after = min(fade, span.start), min(fade, old.shape[1] - span.stop)
    if not ends[0]:
        mirrored = difference[:, span.start - before : span.start][:, ::-1]
        joined[:, span.start : span.start + before] += falling[:before] * mirrored
    if not ends[1]:
        mirrored = difference[:, span.stop : span.stop + after][:, ::-1]
        joined[:, span.stop - after : span.stop] += falling[:after][::-1] * mirrored
    if region.is_band:
        gate = np.zeros(old.shape[1], np.float32)
        gate[span] = 1
        if not ends[0]:
            gate[span.start : span.start + fade] = falling[::-1]
        if not ends[1]:
            gate[span.stop - fade : span.stop] = falling
        joined = old + gate * _band(joined - old, region, rate)
        joined[:, : span.start], joined[:, span.stop :] = old[:, : span.start], old[:, span.stop :]
    return joined


def _band(samples: np.ndarray, region: Region, rate: int) -> np.ndarray:
    """What lies in a region's band, with edges that fall over a tenth of the edge's frequency, at least 25 Hz.

    A filter of the difference between new and old: what the filter does not let through is the old sound unchanged.
    """
    spectrum = np.fft.rfft(samples.astype(np.float64), 2 * samples.shape[1])
    hz = np.fft.rfftfreq(2 * samples.shape[1], 1 / rate)

    def rising(edge: float) -> np.ndarray:
        width = max(25.0, edge / 10)
        along = np.clip((hz - edge) / width + 0.5, 0, 1)
        return 0.5 - 0.5 * np.cos(np.pi * along)

    gain = (rising(region.low_hz) if region.low_hz > 0 else 1.0) * (1 - rising(region.high_hz))
    return np.fft.irfft(spectrum * gain)[:, : samples.shape[1]].astype(np.float32)
