"""Waveform to mel amplitudes, and mel amplitudes to linear ones on a small grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
import torchaudio

from riffusion_space.spectrogram import SpectrogramParams

# Columns transformed at once: bounds the padded spectra, 8,821 complex bins a column, to about 36 MB.
_COLUMNS_AT_ONCE = 512

_BAND = 64  # columns of a banded matrix that are multiplied at once

# A ratio of sample rates with longer terms would take the resampler a large kernel.
_MAX_RATIO_TERM = 1000


@dataclass(frozen=True)
class SmallGrid:
    """The grid on which phase is found.

    Zero-padding only samples the same spectrum more finely, and four-fold is more than phase needs: padding by half
    tells frames apart that look alike without any. Nothing lies above ``max_frequency``, so a lower sample rate will
    do; and windows that overlap ten-fold say everything twice, so columns may be skipped.

    Attributes:
        sample_rate: in Hz.
        stride: columns of the image from one frame of the grid to the next.
        win_length: of the window, in samples at ``sample_rate``.
        hop_length: from one frame to the next, in samples at ``sample_rate``.
        n_fft: samples in a padded frame.
    """

    sample_rate: int
    stride: int
    win_length: int
    hop_length: int
    n_fft: int

    @property
    def bins(self) -> int:
        return self.n_fft // 2 + 1

    @property
    def spacing(self) -> float:
        """From one bin to the next, in Hz."""
        return self.sample_rate / self.n_fft


@lru_cache(maxsize=8)
def small_grid(params: SpectrogramParams) -> SmallGrid:
    """The cheapest grid that holds all that ``params`` can express: 21,600 Hz for the default ones.

    Where no lower rate fits, the grid keeps the full one.
    """
    stride = max(1, params.win_length // (5 * params.hop_length))
    hop_ms = stride * params.step_size_ms
    # From 8 % above Nyquist's rate, which leaves the resampler a transition band.
    rates = range(math.ceil(2.16 * params.max_frequency), params.sample_rate)
    fitting = (
        rate
        for rate in rates
        if rate * params.window_duration_ms % 1000 == rate * hop_ms % 1000 == 0
        and params.sample_rate // math.gcd(rate, params.sample_rate) <= _MAX_RATIO_TERM
    )
    rate = next(fitting, params.sample_rate)
    win_length = rate * params.window_duration_ms // 1000
    return SmallGrid(rate, stride, win_length, rate * hop_ms // 1000, _fast_size(math.ceil(1.45 * win_length)))


def _fast_size(minimum: int) -> int:
    """The least even FFT size of at least ``minimum`` with no prime factor above 5."""
    size = minimum + minimum % 2
    while 60 ** size.bit_length() % size:
        size += 2
    return size


@lru_cache(maxsize=8)
def _filterbank(params: SpectrogramParams) -> torch.Tensor:
    """Triangular filters, (padded bins up to ``max_frequency``, bands), float32."""
    filters = torchaudio.functional.melscale_fbanks(
        n_freqs=params.n_fft // 2 + 1,
        f_min=params.min_frequency,
        f_max=params.max_frequency,
        n_mels=params.num_frequencies,
        sample_rate=params.sample_rate,
        norm=None,
        mel_scale="htk",
    )
    return filters[: params.max_frequency * params.n_fft // params.sample_rate + 1].contiguous()


def mel_amplitudes(samples: torch.Tensor, params: SpectrogramParams) -> torch.Tensor:
    """Mel spectrogram of magnitudes, column ``t`` centred on sample ``t * hop_length``.

    Equals torchaudio's ``MelSpectrogram(power=1, norm=None, mel_scale="htk", center=True)`` of the same
    parameters, in memory that does not grow with the padding.

    Args:
        samples: (batch, n) float32, at ``params.sample_rate``, n at least 1. The ends are reflected; a signal too
            short to reflect is taken to be followed by silence.

    Returns:
        (batch, bands, 1 + n // hop_length), not negative.
    """
    if samples.ndim != 2 or samples.shape[1] < 1:
        raise ValueError(f"expected samples of shape (batch, at least 1), got {tuple(samples.shape)}")
    if not torch.isfinite(samples).all():
        raise ValueError("expected finite samples, got NaN or infinity")
    columns = params.columns_for_samples(samples.shape[1])
    # Outside the window a padded frame is zero: only the window's reach has to be reflected.
    before = params.n_fft // 2 - (params.n_fft - params.win_length) // 2
    after = params.win_length - before
    samples = F.pad(samples, (0, max(0, max(before, after) + 1 - samples.shape[1])))
    padded = F.pad(samples, (before, after), mode="reflect")
    frames = padded.unfold(1, params.win_length, params.hop_length)[:, :columns]
    window = torch.hann_window(params.win_length, device=samples.device)
    filters = _filterbank(params).to(samples.device)
    mel = samples.new_empty(samples.shape[0], columns, params.num_frequencies)
    for start in range(0, columns, _COLUMNS_AT_ONCE):
        chunk = frames[:, start : start + _COLUMNS_AT_ONCE]
        spectrum = torch.fft.rfft(chunk * window, n=params.n_fft)[..., : filters.shape[0]].abs()
        mel[:, start : start + _COLUMNS_AT_ONCE] = spectrum @ filters
    return mel.transpose(1, 2)


@lru_cache(maxsize=8)
def _inverse_filterbank(params: SpectrogramParams, device: torch.device) -> torch.Tensor:
    """Pseudo-inverse of the filterbank, seen on the small grid: (small bins, bands), float32."""
    grid, filters = small_grid(params), _filterbank(params).double()
    inverse = filters @ torch.linalg.pinv(filters.T @ filters, hermitian=True)
    inverse = F.pad(inverse, (0, 0, 0, 2))
    # Where the small grid's bins lie on the padded one, whose rows end at max_frequency.
    position = torch.arange(grid.bins, dtype=torch.float64) * (grid.spacing * params.n_fft / params.sample_rate)
    below = position.clamp_(max=len(filters)).long()
    rows = torch.lerp(inverse[below], inverse[below + 1], (position - below)[:, None])
    return (rows * grid.sample_rate / params.sample_rate).float().to(device)


def linear_amplitudes(mel: torch.Tensor, params: SpectrogramParams) -> torch.Tensor:
    """Least-squares linear magnitudes of mel amplitudes, on the small grid and at the level of its sample rate.

    Args:
        mel: (batch, frames, bands).

    Returns:
        (batch, frames, small_grid(params).bins), not negative.
    """
    return (mel @ _inverse_filterbank(params, mel.device).T).clamp_(min=0)


class _Banded:
    """Products with a matrix (rows, columns) whose entries lie around a diagonal: of its blocks that hold any."""

    def __init__(self, matrix: torch.Tensor) -> None:
        self.columns = matrix.shape[1]
        self._blocks = []
        for start in range(0, self.columns, _BAND):
            part = matrix[:, start : start + _BAND]
            filled = part.any(1).nonzero()
            if len(filled):
                first, last = int(filled[0]), int(filled[-1]) + 1
                self._blocks.append((start, first, part[first:last].contiguous()))

    def __call__(self, left: torch.Tensor) -> torch.Tensor:
        """``left @ matrix`` of (..., rows), with zeros where the matrix has none but zeros."""
        product = left.new_zeros(*left.shape[:-1], self.columns)
        for start, first, block in self._blocks:
            product[..., start : start + block.shape[1]] = left[..., first : first + len(block)] @ block
        return product


@dataclass(frozen=True, eq=False)
class _SmallFilters:
    """The filterbank as seen from the small grid.

    ``to_bands`` and ``to_bins`` are products with it, (small bins, bands), and with its transpose; ``total`` (bins,) is
    the sum of a bin's filters, ``wide`` (bins,) whether the bands can judge it.
    """

    to_bands: _Banded
    to_bins: _Banded
    total: torch.Tensor
    wide: torch.Tensor


@lru_cache(maxsize=8)
def _small_filterbank(params: SpectrogramParams, device: torch.device) -> _SmallFilters:
    """A magnitude between two small bins is taken to be on the line between theirs."""
    grid, filters = small_grid(params), _filterbank(params)
    position = torch.arange(len(filters)) * (params.sample_rate / params.n_fft / grid.spacing)
    below = position.long()
    part = (position - below)[:, None]
    small = torch.zeros(grid.bins + 1, params.num_frequencies)
    small.index_add_(0, below, filters * (1 - part)).index_add_(0, below + 1, filters * part)
    small = small[: grid.bins] * (params.sample_rate / grid.sample_rate)
    # Where bands are closer together than bins, they know more of the spectrum than the small grid does.
    edges = [params.hz_to_band((k - 0.5) * grid.spacing) for k in range(grid.bins + 1)]
    wide = torch.tensor(edges).diff() < 1
    total, small = small.sum(1), small.to(device)
    return _SmallFilters(_Banded(small), _Banded(small.T), total.clamp(min=1e-6).to(device),
                         (wide & (total > 0)).to(device))


def fitted_amplitudes(
    current: torch.Tensor, magnitudes: torch.Tensor, mel: torch.Tensor, params: SpectrogramParams
) -> torch.Tensor:
    """Magnitudes like ``current``, but nearer to the mel amplitudes.

    A mel band says how much there is between two frequencies, not where: many magnitudes fit. One multiplicative
    update of Lee and Seung, "Algorithms for non-negative matrix factorization", 2001, finds those that resemble what
    a signal can have.

    Args:
        current: (batch, frames, bins), magnitudes of a signal on the small grid.
        magnitudes: (batch, frames, bins), returned where bands are closer together than bins.
        mel: (batch, frames, bands), the amplitudes to come near to.

    Returns:
        (batch, frames, bins).
    """
    filters = _small_filterbank(params, mel.device)
    floor = 1e-4 * mel.amax((1, 2), keepdim=True) + 1e-12
    # The bounds keep what was nearly silent from taking over in one step.
    ratio = ((mel + floor) / filters.to_bands(current).add_(floor)).clamp_(0.25, 4)
    return torch.where(filters.wide, filters.to_bins(ratio).mul_(current).div_(filters.total), magnitudes)
