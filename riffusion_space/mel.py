"""Waveform to mel amplitudes, and mel amplitudes to linear ones on a small grid."""

from __future__ import annotations

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
    so the sample rate may be halved; and windows that overlap ten-fold say everything twice, so columns may be
    skipped.

    Attributes:
        divisor: what the sample rate is divided by.
        stride: columns of the image from one frame of the grid to the next.
        n_fft: window and FFT size, in samples of the divided rate.
        hop_length: samples of the divided rate from one frame to the next.
    """

    divisor: int
    stride: int
    n_fft: int
    hop_length: int

    @property
    def bins(self) -> int:
        return self.n_fft // 2 + 1


def small_grid(params: SpectrogramParams) -> SmallGrid:
    """The smallest grid that holds all that ``params`` can express."""
    stride = max(1, params.win_length // (5 * params.hop_length))
    hop = stride * params.hop_length
    # A tenth of headroom is for the resampler's transition band.
    low_enough = 1.1 * params.max_frequency <= params.sample_rate / 4
    even = params.sample_rate % 2 == params.win_length % 2 == hop % 2 == 0
    divisor = 2 if low_enough and even else 1
    return SmallGrid(divisor, stride, params.win_length // divisor, hop // divisor)


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
        samples: (batch, n) float, at ``params.sample_rate``, n at least 1. The ends are reflected; a signal too
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
    grid = small_grid(params)
    # Row k of the small grid lies at k * padded / window rows of the padded grid.
    position = torch.arange(grid.bins, dtype=torch.float64) * params.n_fft / params.win_length
    below = position.floor().long()
    inverse = F.pad(inverse, (0, 0, 0, max(0, int(below[-1]) + 2 - inverse.shape[0])))
    fraction = (position - below)[:, None]
    return torch.lerp(inverse[below], inverse[below + 1], fraction).float()


def linear_amplitudes(mel: torch.Tensor, params: SpectrogramParams) -> torch.Tensor:
    """Least-squares linear magnitudes of mel amplitudes, on the small grid and at the level of its sample rate.

    Args:
        mel: (batch, bands, columns).

    Returns:
        (batch, small_grid(params).bins, columns), not negative.
    """
    inverse = _inverse_filterbank(params).to(mel.device)
    return (inverse @ mel).clamp_(min=0).div_(small_grid(params).divisor)
