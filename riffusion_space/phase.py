"""Mel amplitudes to waveform: the phase that an image does not hold is found by fast Griffin-Lim.

Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984; with the momentum of
Perraudin, Balazs and Sondergaard, "A fast Griffin-Lim algorithm", 2013.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchaudio

from riffusion_space.mel import linear_amplitudes, small_grid
from riffusion_space.spectrogram import SpectrogramParams

ITERATIONS = 48
_MOMENTUM = 0.99

# Frames solved together: 20 s on the default parameters. Bounds memory for long input.
_CHUNK_FRAMES = 1024


class _Frames:
    """Windowed frames of a signal on the small grid, and the least-squares signal of given frames."""

    def __init__(self, n_fft: int, hop: int, device: torch.device) -> None:
        self.n_fft, self.hop = n_fft, hop
        self.overlap = math.ceil(n_fft / hop)
        self.window = torch.hann_window(n_fft, device=device)
        # Where all overlapping frames are there, the squared windows add up to this, periodic in the hop.
        squares = F.pad(self.window**2, (0, self.overlap * hop - n_fft))
        self.synthesis = self.window / squares.view(self.overlap, hop).sum(0).repeat(self.overlap)[:n_fft]

    def analyse(self, signal: torch.Tensor) -> torch.Tensor:
        """(batch, samples) to complex (batch, frames, bins)."""
        return torch.fft.rfft(signal.unfold(1, self.n_fft, self.hop) * self.window)

    def synthesise(self, spectrum: torch.Tensor) -> torch.Tensor:
        """Complex (batch, frames, bins) to (batch, (frames + overlap - 1) * hop); the ends fade."""
        frames = torch.fft.irfft(spectrum, n=self.n_fft) * self.synthesis
        frames = F.pad(frames, (0, self.overlap * self.hop - self.n_fft))
        batch, count, _ = frames.shape
        frames = frames.view(batch, count, self.overlap, self.hop)
        signal = frames.new_zeros(batch, count + self.overlap - 1, self.hop)
        for part in range(self.overlap):
            signal[:, part : part + count] += frames[:, :, part]
        return signal.flatten(1)


def reconstruct(
    mel: torch.Tensor,
    params: SpectrogramParams,
    seed: int = 0,
    iterations: int = ITERATIONS,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """Waveform whose mel spectrogram comes close to ``mel``.

    Every item of a batch starts from the same random phase, so that it does not depend on its neighbours.

    Args:
        mel: (batch, bands, columns), finite and not negative, at least two columns.
        seed: of the initial phase.
        iterations: of Griffin-Lim.
        progress: called with the fraction done, up to 1; what it raises ends the work.

    Returns:
        (batch, (columns - 1) * hop_length) at ``params.sample_rate``.

    Raises:
        ValueError: the shape or the values are not as above.
    """
    if mel.ndim != 3 or mel.shape[1] != params.num_frequencies or mel.shape[2] < 2:
        raise ValueError(
            f"expected mel amplitudes of shape (batch, {params.num_frequencies}, at least 2 columns), "
            f"got {tuple(mel.shape)}"
        )
    if not (torch.isfinite(mel).all() and (mel >= 0).all()):
        raise ValueError("expected finite mel amplitudes of at least 0")
    if iterations < 1:
        raise ValueError(f"expected at least 1 iteration, got {iterations}")
    grid = small_grid(params)
    frames = _Frames(grid.n_fft, grid.hop_length, mel.device)
    columns = mel.shape[2]
    # The ends of the signal were reflected when it was analysed: the column before the first equals the second.
    margin = frames.overlap
    last = math.ceil((columns - 1) / grid.stride)
    period = 2 * (columns - 1)
    position = torch.arange(-margin, last + margin + 1) * grid.stride % period
    source = torch.minimum(position, period - position).to(mel.device)

    generator = torch.Generator().manual_seed(seed)
    total, overlap = len(source), 2 * frames.overlap
    signal = mel.new_zeros(mel.shape[0], (total + frames.overlap - 1) * frames.hop)
    done = 0
    angles = _random_phase(generator, 0, grid.bins)
    while done < total:
        stop = min(done + _CHUNK_FRAMES, total)
        start = max(0, done - overlap)
        ahead = min(stop + overlap, total)
        magnitudes = linear_amplitudes(mel[:, :, source[start:ahead]], params).transpose(1, 2).contiguous()
        new = _random_phase(generator, ahead - start - angles.shape[-2], grid.bins).to(mel.device)
        phase = torch.cat((angles.to(mel.device), new.expand(*angles.shape[:-2], -1, -1)), dim=-2)
        known = signal[:, start * frames.hop : done * frames.hop]

        def report(fraction: float, start: int = done, stop: int = stop) -> None:
            if progress is not None:
                progress((start + fraction * (stop - start)) / total)

        part, spectrum = _griffin_lim(magnitudes, phase, known, frames, iterations, report)
        signal[:, start * frames.hop : start * frames.hop + part.shape[1]] = part
        angles = spectrum[:, max(0, stop - overlap) - start :]
        done = stop
    first = margin * frames.hop + grid.n_fft // 2
    length = math.ceil(params.samples_for_columns(columns) / grid.divisor)
    signal = signal[:, first : first + length]
    if grid.divisor > 1:
        signal = torchaudio.functional.resample(signal, 1, grid.divisor, lowpass_filter_width=32)
    return signal[:, : params.samples_for_columns(columns)].contiguous()


def _random_phase(generator: torch.Generator, frames: int, bins: int) -> torch.Tensor:
    angle = torch.rand(1, frames, bins, generator=generator) * (2 * math.pi)
    return torch.polar(torch.ones_like(angle), angle)


def _griffin_lim(
    magnitudes: torch.Tensor,
    phase: torch.Tensor,
    known: torch.Tensor,
    frames: _Frames,
    iterations: int,
    progress: Callable[[float], None],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Signal of (batch, frames, bins) magnitudes that begins with the samples of ``known``; and its spectrum."""
    # Only the direction of `phase` counts, its length does not.
    previous = torch.zeros_like(phase)
    for iteration in range(iterations):
        signal = frames.synthesise(phase * (magnitudes / phase.abs().clamp_(min=1e-12)))
        signal[:, : known.shape[1]] = known
        current = frames.analyse(signal[:, : (magnitudes.shape[1] - 1) * frames.hop + frames.n_fft])
        phase = current + _MOMENTUM * (current - previous) if iteration else current
        previous = current
        progress((iteration + 1) / iterations)
    signal = frames.synthesise(current * (magnitudes / current.abs().clamp_(min=1e-12)))
    signal[:, : known.shape[1]] = known
    return signal, current
