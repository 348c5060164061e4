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


@dataclass(frozen=True)
class SmallGrid:
    """The grid on which phase is found.

    Zero-padding only samples a spectrum more finely, so the window length serves as FFT size: on the default
    parameters its bins are every 4th bin of the padded spectrum, exactly. Nothing lies above ``max_frequency``,
    so a lower sample rate will do; and windows that overlap ten-fold say everything twice, so columns may be
    skipped.

    Attributes:
        sample_rate: in Hz.
        stride: columns of the image from one frame of the grid to the next.
        n_fft: window and FFT size, in samples at ``sample_rate``.
        hop_length: samples at ``sample_rate`` from one frame to the next.
    """

    sample_rate: int
    stride: int
    n_fft: int
    hop_length: int

    @property
    def bins(self) -> int:
        return self.n_fft // 2 + 1


@lru_cache(maxsize=8)
def small_grid(params: SpectrogramParams) -> SmallGrid:
    """The cheapest grid that holds all that ``params`` can express: 21,600 Hz for the default ones.

    Where no lower rate fits, the grid keeps the full one.
    """
    stride = max(1, params.win_length // (5 * params.hop_length))
    hop_ms = stride * params.step_size_ms
    # From 8 % above Nyquist's rate, for the resampler's transition band, to where more samples cost more than a good
    # FFT size saves.
    for rate in range(math.ceil(2.16 * params.max_frequency), min(3 * params.max_frequency, params.sample_rate)):
        n_fft, rest = divmod(rate * params.window_duration_ms, 1000)
        if rest == rate * hop_ms % 1000 == 0 and _is_fast(n_fft) and _is_simple(rate, params.sample_rate):
            return SmallGrid(rate, stride, n_fft, rate * hop_ms // 1000)
    return SmallGrid(params.sample_rate, stride, params.win_length, stride * params.hop_length)


def _is_fast(n_fft: int) -> bool:
    """Even, and of no prime factor above 5: measured 2 to 5 times as fast as 2205 or 4410."""
    rest = n_fft
    for prime in (2, 3, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1 and n_fft % 2 == 0


def _is_simple(rate: int, sample_rate: int) -> bool:
    """Whether the resampler's kernel for this ratio is small."""
    return sample_rate // math.gcd(rate, sample_rate) <= 1000


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
def _inverse_filterbank(params: SpectrogramParams) -> torch.Tensor:
    """Pseudo-inverse of the filterbank, only the rows that lie on the small grid: (small bins, bands), float32."""
    filters = _filterbank(params).double()
    inverse = filters @ torch.linalg.pinv(filters.T @ filters, hermitian=True)
    inverse = F.pad(inverse, (0, 0, 0, 1))
    grid = small_grid(params)
    # Row k of the small grid lies at k * padded / window rows of the padded one.
    position = torch.arange(grid.bins, dtype=torch.float64)[:, None] * params.n_fft / params.win_length
    below = position.long().clamp_(max=len(inverse) - 2)
    rows = torch.lerp(inverse[below[:, 0]], inverse[below[:, 0] + 1], (position - below).clamp_(max=1))
    return (rows * grid.sample_rate / params.sample_rate).float()


def linear_amplitudes(mel: torch.Tensor, params: SpectrogramParams) -> torch.Tensor:
    """Least-squares linear magnitudes of mel amplitudes, on the small grid and at the level of its sample rate.

    Args:
        mel: (batch, frames, bands).

    Returns:
        (batch, frames, small_grid(params).bins), not negative.
    """
    return (mel @ _inverse_filterbank(params).to(mel.device).T).clamp_(min=0)


@lru_cache(maxsize=8)
def _small_filterbank(params: SpectrogramParams) -> tuple[torch.Tensor, torch.Tensor]:
    """The filterbank as seen from the small grid, (small bins, bands); and which of its bins it can judge.

    A magnitude between two small bins is taken to be on the line between theirs.
    """
    grid, filters = small_grid(params), _filterbank(params)
    position = torch.arange(len(filters)) * (params.win_length / params.n_fft)
    below = position.long()
    part = (position - below)[:, None]
    small = torch.zeros(grid.bins + 1, params.num_frequencies)
    small.index_add_(0, below, filters * (1 - part)).index_add_(0, below + 1, filters * part)
    small = small[: grid.bins] * (params.sample_rate / grid.sample_rate)
    # Where bands are closer together than bins, they know more of the spectrum than the small grid does.
    spacing = grid.sample_rate / grid.n_fft
    wide = [
        params.hz_to_band((k + 0.5) * spacing) - params.hz_to_band((k - 0.5) * spacing) < 1 for k in range(grid.bins)
    ]
    return small, torch.tensor(wide) & (small.sum(1) > 0)


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
    filters, wide = (tensor.to(mel.device) for tensor in _small_filterbank(params))
    floor = 1e-4 * mel.amax((1, 2), keepdim=True) + 1e-12
    # The bounds keep what was nearly silent from taking over in one step.
    ratio = ((mel + floor) / (current @ filters + floor)).clamp_(0.25, 4)
    return torch.where(wide, current * (ratio @ filters.T) / filters.sum(1).clamp(min=1e-6), magnitudes)
