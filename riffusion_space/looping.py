"""The sound of a loop: a picture whose last column is followed by its first becomes samples that do the same.

The frames of the short-time Fourier transform lie on a circle, so every iteration of Griffin and Lim sees the join as
it sees any other moment, and the samples have no end. A loop is as long as its beats say, to the sample, which need not
be a whole number of columns: the picture is laid around the circle, stretched in time by at most half a latent column
over the whole loop, and its pitch stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from riffusion_space.mel import SmallGrid, linear_amplitudes, small_grid
from riffusion_space.phase import ITERATIONS, JITTER, fast_griffin_lim, partials, reflected_phase
from riffusion_space.spectrogram import SpectrogramParams
from riffusion_space.stages import stage

_NEARBY = 4  # bins on either side that belong to one partial


def columns_at(picture: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """Columns of a circular picture (..., columns) at fractional positions (n,), interpolated linearly: (..., n)."""
    below = position.floor()
    part = (position - below).to(picture.dtype)
    index = below.long()
    return torch.lerp(picture[..., index % picture.shape[-1]], picture[..., (index + 1) % picture.shape[-1]], part)


@stage("phase")
def reconstruct_loop(mel: torch.Tensor, samples: int, params: SpectrogramParams, seed: int = 0,
                     iterations: int = ITERATIONS, progress: Callable[[float], None] | None = None) -> torch.Tensor:
    """Samples that can be repeated without end, whose mel spectrogram comes close to ``mel``.

    Memory grows with the length: 0.8 GB for three minutes.

    Args:
        mel: (batch, bands, columns), finite and not negative; column ``c`` lies at ``c / columns`` of the loop, and the
            last is followed by the first.
        samples: how long the loop is, at ``params.sample_rate``; at least two windows.
        seed: of the first phase.
        progress: called with the fraction done, up to 1; what it raises ends the work.

    Returns:
        (batch, samples): sample 0 follows the last one.

    Raises:
        ValueError: the shape or the length is not as above.
    """
    if mel.ndim != 3 or mel.shape[1] != params.num_frequencies or mel.shape[2] < 2:
        raise ValueError(f"expected mel amplitudes of shape (batch, {params.num_frequencies}, at least 2 columns), "
                         f"got {tuple(mel.shape)}")
    if samples < 2 * params.win_length:
        raise ValueError(f"expected a loop of at least {2 * params.win_length} samples, got {samples}")
    grid = small_grid(params)
    circle = _Circle.of(samples, grid, params)
    mel = columns_at(mel, circle.centre / circle.length * mel.shape[2]).transpose(1, 2).contiguous()
    done = 0

    def report() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done / iterations)

    magnitudes = linear_amplitudes(mel, params)
    estimate = circle.first_spectrum(magnitudes, torch.Generator().manual_seed(seed))
    signal, _ = fast_griffin_lim(estimate, magnitudes, mel, params, iterations, circle.synthesise, circle.analyse,
                                 report)
    return _resampled(signal, samples)


@dataclass(frozen=True, eq=False)
class _Circle:
    """Frames around a signal of ``length`` samples whose end is followed by its beginning, as evenly as whole samples
    allow; ``centre`` (frames,) is where each has its middle, ``index`` (frames, window) what it sees.
    """

    grid: SmallGrid
    length: int
    window: torch.Tensor
    centre: torch.Tensor
    index: torch.Tensor
    envelope: torch.Tensor

    @classmethod
    def of(cls, samples: int, grid: SmallGrid, params: SpectrogramParams) -> _Circle:
        length = round(samples * grid.sample_rate / params.sample_rate)
        count = math.ceil(length / grid.hop_length)
        centre = (torch.arange(count, dtype=torch.float64) * length / count).round()
        window = torch.hann_window(grid.win_length)
        index = (centre.long()[:, None] - grid.win_length // 2 + torch.arange(grid.win_length)) % length
        envelope = torch.zeros(length).index_add_(0, index.flatten(), window.square().repeat(count))
        return cls(grid, length, window, centre, index, envelope)

    def analyse(self, signal: torch.Tensor) -> torch.Tensor:
        """(batch, length) to complex (batch, frames, bins)."""
        return torch.fft.rfft(signal[:, self.index] * self.window, n=self.grid.n_fft)

    def synthesise(self, spectrum: torch.Tensor) -> torch.Tensor:
        """Complex (batch, frames, bins) to the least-squares signal (batch, length)."""
        frames = torch.fft.irfft(spectrum, n=self.grid.n_fft)[..., : len(self.window)] * self.window
        signal = frames.new_zeros(len(frames), self.length)
        return signal.index_add_(1, self.index.flatten(), frames.flatten(1)).div_(self.envelope)

    def first_spectrum(self, magnitudes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """A spectrum of which only the phase counts: each partial's advances as it should, and comes out even.

        What a partial is short of whole turns around the loop is spread over it: less than half a turn, or half a hertz
        in a second. Bins of one partial take the same share, or it would fall apart.
        """
        padding = self.grid.n_fft / len(self.window)
        partial = partials(magnitudes, padding)
        hop = torch.cat((self.centre, self.centre.new_tensor([self.length]))).diff()[None, :, None]
        mean = (partial + partial.roll(-1, 1)).double() / 2  # from each frame to the next, the last to the first
        advance = mean * hop * (2 * math.pi / self.grid.n_fft)
        total = advance.sum(1, keepdim=True)
        energy = magnitudes.square().sum(1, keepdim=True)
        around = F.avg_pool1d(torch.cat((energy * total.cos(), energy * total.sin()), 1).float(), 2 * _NEARBY + 1, 1,
                              _NEARBY)
        short = torch.atan2(around[:, 1:], around[:, :1])
        phase = (advance - short * hop / self.length).cumsum(1).roll(1, 1)
        phase[:, 0] = 0
        noise = (2 * math.pi * JITTER) * (torch.rand(1, *magnitudes.shape[1:], generator=generator) - 0.5)
        phase = phase.remainder(2 * math.pi).float() + reflected_phase(magnitudes[:, :1], padding) + noise
        return torch.polar(torch.ones_like(phase), phase)


def _resampled(signal: torch.Tensor, samples: int) -> torch.Tensor:
    """A periodic signal (batch, n) at another number of samples to the period, by its Fourier series."""
    bins = samples // 2 + 1
    spectrum = torch.fft.rfft(signal)[:, :bins]
    return torch.fft.irfft(F.pad(spectrum, (0, bins - spectrum.shape[1])), n=samples) * (samples / signal.shape[1])
