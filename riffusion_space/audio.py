"""Waveforms, and the files they come from and go to."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
import torchaudio

# Rates whose ratio is awkward would need a kernel of gigabytes: the ratio is rounded to terms of this size, which
# changes pitch by at most 1e-5.
_MAX_RATIO_TERM = 1000


@dataclass(frozen=True, eq=False)
class Waveform:
    """Sound as samples.

    Attributes:
        samples: float32 of shape (channels, n), full scale being -1..1, finite.
        sample_rate: in Hz.

    Raises:
        ValueError: the samples have another shape, NaN or infinity, or the rate is below 1.
    """

    samples: np.ndarray
    sample_rate: int

    def __post_init__(self) -> None:
        samples = np.ascontiguousarray(self.samples, dtype=np.float32)
        if samples.ndim != 2 or samples.shape[0] < 1 or samples.shape[1] < 1:
            raise ValueError(f"expected samples of shape (channels, n), both at least 1, got {samples.shape}")
        if not np.isfinite(samples).all():
            raise ValueError("expected finite samples, got NaN or infinity")
        if self.sample_rate < 1:
            raise ValueError(f"expected a sample rate of at least 1 Hz, got {self.sample_rate}")
        object.__setattr__(self, "samples", samples)

    @property
    def channels(self) -> int:
        return self.samples.shape[0]

    @property
    def num_samples(self) -> int:
        return self.samples.shape[1]

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sample_rate

    @property
    def peak(self) -> float:
        """The largest absolute sample."""
        return float(max(self.samples.max(), -self.samples.min()))

    def to_mono(self) -> Waveform:
        """The mean of all channels."""
        if self.channels == 1:
            return self
        return Waveform(self.samples.mean(axis=0, keepdims=True), self.sample_rate)

    def to_stereo(self) -> Waveform:
        """Two channels: a mono waveform twice.

        Raises:
            ValueError: there are more than two channels.
        """
        if self.channels > 2:
            raise ValueError(f"expected at most 2 channels, got {self.channels}")
        return self if self.channels == 2 else Waveform(self.samples.repeat(2, axis=0), self.sample_rate)

    def resampled(self, sample_rate: int) -> Waveform:
        """The same sound at another rate: ``round(n * sample_rate / self.sample_rate)`` samples, at least 1."""
        if sample_rate == self.sample_rate:
            return self
        ratio = Fraction(sample_rate, self.sample_rate).limit_denominator(_MAX_RATIO_TERM)
        if ratio > 1:
            ratio = 1 / Fraction(self.sample_rate, sample_rate).limit_denominator(_MAX_RATIO_TERM)
        samples = torchaudio.functional.resample(
            torch.from_numpy(self.samples),
            ratio.denominator,
            ratio.numerator,
            lowpass_filter_width=64,
            rolloff=0.9476,  # with this window: flat to 90 % of Nyquist, -80 dB at it
            resampling_method="sinc_interp_kaiser",
            beta=14.77,
        ).numpy()
        length = max(1, round(self.num_samples * sample_rate / self.sample_rate))
        samples = np.pad(samples[:, :length], ((0, 0), (0, max(0, length - samples.shape[1]))))
        return Waveform(samples, sample_rate)

    def normalized(self, peak_db: float = -1.0) -> Waveform:
        """The same sound with its peak at ``peak_db`` dB of full scale; silence stays silence."""
        peak = self.peak
        if peak == 0:
            return self
        return Waveform(self.samples * np.float32(10 ** (peak_db / 20) / peak), self.sample_rate)

    def sliced(self, start: int, stop: int) -> Waveform:
        """Samples ``start`` to ``stop``, which must lie inside and hold at least one sample."""
        if not 0 <= start < stop <= self.num_samples:
            raise ValueError(f"expected 0 <= start < stop <= {self.num_samples}, got {start} and {stop}")
        return Waveform(self.samples[:, start:stop], self.sample_rate)
