"""Mel amplitudes to waveform: the phase that an image does not hold is found by fast Griffin-Lim.

Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984, with the momentum of Perraudin,
Balazs and Sondergaard, "A fast Griffin-Lim algorithm", 2013, from a first phase after Prusa, Balazs and Sondergaard,
"A noniterative method for reconstruction of phase from STFT magnitude", 2017.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import torchaudio

from riffusion_space.mel import SmallGrid, fitted_amplitudes, linear_amplitudes, small_grid
from riffusion_space.spectrogram import SpectrogramParams
from riffusion_space.stages import stage

ITERATIONS = 50
_MOMENTUM = 0.99
_FIT_EVERY = 8  # iterations from one fit of the magnitudes to the next
JITTER = 0.1  # of a turn: how far the seed moves the first phase

_FADE_HOPS = 2  # over which a chunk's samples give way to those of the next

# Frames solved together, 10 s on the default parameters: bounds memory for long input.
_CHUNK_FRAMES = 512
_RESAMPLED_AT_ONCE = 1 << 20


class _Frames:
    """Windowed frames of a signal on the small grid, and the least-squares signal of given frames."""

    def __init__(self, grid: SmallGrid, device: torch.device) -> None:
        self.n_fft, self.hop = grid.n_fft, grid.hop_length
        self.overlap = math.ceil(grid.win_length / self.hop)
        self.excess = self.overlap * self.hop - grid.win_length
        self.window = torch.hann_window(grid.win_length, device=device)
        self._parts = F.pad(self.window, (0, self.excess)).unflatten(0, (self.overlap, self.hop))
        self._padded = self.window.new_zeros(0)

    def samples(self, frames: int) -> int:
        return (frames + self.overlap - 1) * self.hop

    def analyse(self, signal: torch.Tensor) -> torch.Tensor:
        """(batch, samples(frames)) to complex (batch, frames, bins)."""
        signal = signal[:, : signal.shape[1] - self.excess]
        frames = signal.unfold(1, len(self.window), self.hop)
        if self._padded.shape[:-1] != frames.shape[:-1]:  # kept: its zeros are the padding of every iteration
            self._padded = frames.new_zeros(*frames.shape[:-1], self.n_fft)
        torch.mul(frames, self.window, out=self._padded[..., : len(self.window)])
        return torch.fft.rfft(self._padded)

    def synthesise(self, spectrum: torch.Tensor, envelope: torch.Tensor) -> torch.Tensor:
        """Complex (batch, frames, bins) to (batch, samples(frames)), given ``envelope(frames)``."""
        frames = torch.fft.irfft(spectrum, n=self.n_fft)
        return self._overlap_add(frames[..., : len(self.window)], self._parts).div_(envelope)

    def envelope(self, frames: int) -> torch.Tensor:
        """The squared windows of so many frames added up, (1, samples(frames)), not 0 at the outer ends."""
        return self._overlap_add(self.window.expand(1, frames, -1), self._parts).clamp_(min=1e-3)

    def _overlap_add(self, frames: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Frames (batch, frames, window), weighted (overlap, hop) and added up where they lie."""
        if self.excess:
            frames = F.pad(frames, (0, self.excess))
        batch, count, _ = frames.shape
        frames = frames.unflatten(2, (self.overlap, self.hop))
        signal = frames.new_zeros(batch, count + self.overlap - 1, self.hop)
        for part in range(self.overlap):
            signal[:, part : part + count].addcmul_(frames[:, :, part], weights[part])
        return signal.flatten(1)


@dataclass(frozen=True, eq=False)
class Kept:
    """Samples that a reconstruction has to agree with, so that what is new joins on to them in phase.

    ``samples`` (batch, n) at ``params.sample_rate``, as many as are reconstructed; ``weight`` (n,) float32 says which:
    1 where they are kept, 0 where the sound is to be found.
    """

    samples: torch.Tensor
    weight: torch.Tensor


@stage("phase")
def reconstruct(
    mel: torch.Tensor,
    params: SpectrogramParams,
    seed: int = 0,
    iterations: int = ITERATIONS,
    progress: Callable[[float], None] | None = None,
    channels: int = 1,
    kept: Kept | None = None,
) -> torch.Tensor:
    """Waveform whose mel spectrogram comes close to ``mel``.

    Long input is solved in chunks; each continues the samples of the one before. Every item of a batch draws the same
    random numbers, so that it does not depend on its neighbours.

    Args:
        mel: (batch, bands, columns), finite and not negative, at least two columns.
        seed: of the first phase.
        iterations: of Griffin-Lim.
        progress: called with the fraction done, up to 1; what it raises ends the work.
        channels: so many consecutive items are channels of one sound and start from the phase of their mix. Channels
            whose phases are found apart have nothing in common, and are heard as out of phase.
        kept: samples that every iteration puts back in their place. What comes back there is close to them, not equal:
            it holds nothing above ``max_frequency``.

    Returns:
        (batch, (columns - 1) * hop_length) at ``params.sample_rate``.

    Raises:
        ValueError: the shape or the values are not as above.
    """
    _check(mel, params, iterations, channels)
    grid, columns = small_grid(params), mel.shape[2]
    frames = _Frames(grid, mel.device)
    count = math.ceil((columns - 1) / grid.stride) + 1
    column = _reflected(torch.arange(count) * grid.stride, columns).to(mel.device)
    first = grid.win_length // 2  # of the frames' samples: the middle of the first frame
    length = math.ceil(params.samples_for_columns(columns) * grid.sample_rate / params.sample_rate)

    bounds = _chunk_bounds(count)
    steps, done = (len(bounds) - 1) * (iterations + _mix_iterations(iterations, channels)), itertools.count(1)

    def report() -> None:
        if progress is not None:
            progress(next(done) / steps)

    solver = _Solver(params, frames, torch.Generator().manual_seed(seed), iterations, channels, report)
    signal = mel.new_zeros(mel.shape[0], frames.samples(count))
    target, weight = _on_small_grid(kept, signal, first, length, params.sample_rate, grid.sample_rate)
    spectrum = _known_spectrum(target, weight, frames)[:, : bounds[1]]
    context = frames.overlap + _FADE_HOPS - 1
    for begin, end in itertools.pairwise(bounds):
        # From frames whose samples are known already, to frames that only show how the sound goes on.
        start, stop = max(0, begin - context), min(end + 2 * frames.overlap, count)
        span = slice(start * frames.hop, start * frames.hop + frames.samples(stop - start))
        position = _reflected(torch.arange(span.start, span.stop) - first, length) + first - span.start
        signal[:, span], spectrum = solver.solve(
            mel[:, :, column[start:stop]].transpose(1, 2).contiguous(),
            known=signal[:, span.start : begin * frames.hop],
            spectrum=spectrum,
            position=position.to(mel.device),
            target=target[:, span],
            target_weight=weight[span],
        )
        spectrum = spectrum[:, end - context - start :]
    return _resampled(signal, first, params.samples_for_columns(columns), grid.sample_rate, params.sample_rate)


def _check(mel: torch.Tensor, params: SpectrogramParams, iterations: int, channels: int) -> None:
    if mel.ndim != 3 or mel.shape[0] < 1 or mel.shape[1] != params.num_frequencies or mel.shape[2] < 2:
        raise ValueError(
            f"expected mel amplitudes of shape (at least 1 item, {params.num_frequencies}, at least 2 columns), "
            f"got {tuple(mel.shape)}"
        )
    low, high = mel.aminmax()
    if not (low >= 0 and high < math.inf):
        raise ValueError(f"expected finite mel amplitudes of at least 0, got {low:g} to {high:g}")
    if iterations < 1:
        raise ValueError(f"expected at least 1 iteration, got {iterations}")
    if channels < 1 or mel.shape[0] % channels:
        raise ValueError(f"expected a batch of whole sounds of {channels} channels, got {mel.shape[0]} items")


def _on_small_grid(
    kept: Kept | None, signal: torch.Tensor, first: int, length: int, rate: int, grid_rate: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """What is kept and its weight, where the frames' ``signal`` has it; a weight of 0 where nothing is."""
    target, weight = torch.zeros_like(signal), signal.new_zeros(signal.shape[1])
    if kept is None:
        return target, weight
    samples = torchaudio.functional.resample(kept.samples, rate, grid_rate, lowpass_filter_width=64, rolloff=0.96)
    position = _reflected(torch.arange(signal.shape[1]) - first, length)
    target.copy_(F.pad(samples, (0, max(0, length - samples.shape[1])))[:, position])
    nearest = (position * rate // grid_rate).clamp(max=len(kept.weight) - 1)
    return target, kept.weight[nearest].to(weight)


def _known_spectrum(target: torch.Tensor, weight: torch.Tensor, frames: _Frames) -> torch.Tensor:
    """Spectrum of the first frames, as far as all their samples are kept; of no frame where none are."""
    sought = (weight < 1).nonzero()
    lead = int(sought[0]) if len(sought) else len(weight)
    count = max(0, (lead - len(frames.window)) // frames.hop + 1)
    if not count:
        return target.new_zeros(len(target), 0, frames.n_fft // 2 + 1, dtype=torch.complex64)
    return frames.analyse(target[:, : frames.samples(count)])


def _chunk_bounds(count: int) -> list[int]:
    """The first frame of each chunk, and ``count``; chunks are of about the same size, so that none is tiny."""
    chunks = math.ceil(count / _CHUNK_FRAMES)
    return [count * chunk // chunks for chunk in range(chunks + 1)]


def _mix_iterations(iterations: int, channels: int) -> int:
    return iterations // 2 if channels > 1 else 0


def _reflected(index: torch.Tensor, size: int) -> torch.Tensor:
    """Where an index lies when a range of ``size`` is reflected at its ends, as the encoder does it."""
    period = max(1, 2 * (size - 1))
    index = index % period
    return torch.minimum(index, period - index)


def _resampled(signal: torch.Tensor, first: int, length: int, rate: int, new_rate: int) -> torch.Tensor:
    """``length`` samples at ``new_rate``, from the one that lies at ``first`` of the signal on."""
    if rate == new_rate:
        return signal[:, first : first + length].contiguous()
    # So many samples at the old rate are as long as so many at the new one.
    step, new_step = rate // math.gcd(rate, new_rate), new_rate // math.gcd(rate, new_rate)
    # What lies before and after goes into the filter, too: a cut would be heard as a click.
    around, block = first // step, math.ceil(_RESAMPLED_AT_ONCE / new_step)
    result = signal.new_empty(signal.shape[0], length)
    for start in range(0, length, block * new_step):
        begin = first + start // new_step * step
        source = signal[:, begin - around * step : begin + (block + around) * step]
        part = torchaudio.functional.resample(source, rate, new_rate, lowpass_filter_width=64, rolloff=0.96)
        target = result[:, start : start + block * new_step]
        target.copy_(part[:, around * new_step :][:, : target.shape[1]])
    return result


@dataclass(frozen=True)
class _Solver:
    """Fast Griffin-Lim on one stretch of frames after the other."""

    params: SpectrogramParams
    frames: _Frames
    generator: torch.Generator
    iterations: int
    channels: int
    report: Callable[[], None]

    def solve(
        self, mel: torch.Tensor, known: torch.Tensor, spectrum: torch.Tensor, position: torch.Tensor,
        target: torch.Tensor, target_weight: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Signal of (batch, frames, bands) mel amplitudes, and its spectrum.

        Args:
            known: (batch, samples) that the signal begins with, before it fades into its own.
            spectrum: (batch, fewer frames, bins), what is known of the first frames; may be empty.
            position: tells where each sample is taken from, to reflect the ends.
            target: (batch, samples) that the signal has to be where ``target_weight`` (samples,) is 1.
        """
        mix, mix_known, mix_spectrum, mix_target = (self._mixed(items) for items in (mel, known, spectrum, target))
        magnitudes = linear_amplitudes(mix, self.params)
        estimate = self._first_spectrum(magnitudes, mix_spectrum)
        if mix_iterations := _mix_iterations(self.iterations, self.channels):
            _, estimate = self._iterate(mix, magnitudes, estimate, mix_known, position, mix_target, target_weight,
                                        mix_iterations)
            magnitudes = linear_amplitudes(mel, self.params)
        estimate = estimate.repeat_interleave(self.channels, dim=0)
        estimate = torch.cat((spectrum, estimate[:, spectrum.shape[1] :]), dim=1)
        return self._iterate(mel, magnitudes, estimate, known, position, target, target_weight, self.iterations)

    def _mixed(self, items: torch.Tensor) -> torch.Tensor:
        """(sounds * channels, ...) to (sounds, ...)."""
        return items.unflatten(0, (-1, self.channels)).mean(1)

    def _iterate(
        self, mel: torch.Tensor, magnitudes: torch.Tensor, estimate: torch.Tensor, known: torch.Tensor,
        position: torch.Tensor, target: torch.Tensor, target_weight: torch.Tensor, iterations: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Signal and spectrum from an estimate of the spectrum, of which only the phase counts."""
        envelope = self.frames.envelope(mel.shape[1])
        weight = known.new_ones(known.shape[1])
        if len(weight):
            weight[-_FADE_HOPS * self.frames.hop :] = torch.linspace(1, 0, _FADE_HOPS * self.frames.hop)

        outside = (position != torch.arange(len(position), device=position.device)).nonzero()[:, 0]
        inside = position[outside]
        pinned = bool(target_weight.any())

        def synthesise(spectrum: torch.Tensor) -> torch.Tensor:
            signal = self.frames.synthesise(spectrum, envelope)
            if pinned:
                signal.lerp_(target, target_weight)
            signal[:, : len(weight)].lerp_(known, weight)
            signal[:, outside] = signal[:, inside]
            return signal

        return fast_griffin_lim(estimate, magnitudes, mel, self.params, iterations, synthesise, self.frames.analyse,
                                self.report)

    def _first_spectrum(self, magnitudes: torch.Tensor, spectrum: torch.Tensor) -> torch.Tensor:
        """``spectrum``, continued to as many frames as ``magnitudes`` has; of the new ones only the phase counts."""
        bins, padding = magnitudes.shape[2], self.frames.n_fft / len(self.frames.window)
        partial = partials(magnitudes, padding)
        turn = 2 * math.pi * self.frames.hop / self.frames.n_fft
        advance = F.pad((partial[:, 1:] + partial[:, :-1]) * (turn / 2), (0, 0, 1, 0))
        known = spectrum.shape[1]
        past = spectrum[:, -1:].angle() if known else reflected_phase(magnitudes[:, :1], padding)
        count = magnitudes.shape[1] - known
        noise = (2 * math.pi * JITTER) * (torch.rand(1, count, bins, generator=self.generator) - 0.5)
        # The sum grows to millions of turns: float32 would lose the fraction.
        phase = past + advance[:, known:].double().cumsum(1).remainder_(2 * math.pi).float() + noise.to(advance.device)
        return torch.cat((spectrum, torch.polar(torch.ones_like(phase), phase)), dim=1)


def fast_griffin_lim(
    estimate: torch.Tensor, magnitudes: torch.Tensor, mel: torch.Tensor, params: SpectrogramParams, iterations: int,
    synthesise: Callable[[torch.Tensor], torch.Tensor], analyse: Callable[[torch.Tensor], torch.Tensor],
    report: Callable[[], None],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Signal (batch, samples) and its spectrum, from an estimate of the spectrum of which only the phase counts.

    Args:
        estimate: complex (batch, frames, bins) on the small grid; overwritten.
        magnitudes: (batch, frames, bins), the first, as ``linear_amplitudes`` says them.
        mel: (batch, frames, bands), what the magnitudes are fitted to.
        synthesise: signal of a spectrum, with all that is known of it put in its place.
        analyse: spectrum of a signal.
        report: called after every iteration.
    """
    # Every pass over these arrays counts: they are many times the size of a core's cache. So what can be is put in the
    # place of something else, and complex numbers are taken as pairs of real ones, which is several times as fast.
    square, scale = torch.empty_like(torch.view_as_real(estimate)), torch.empty_like(magnitudes)
    previous = None

    def length_of(spectrum: torch.Tensor) -> torch.Tensor:
        """The squared lengths (batch, frames, bins), in ``scale``."""
        parts = torch.view_as_real(spectrum)
        torch.mul(parts, parts, out=square)
        return torch.add(square[..., 0], square[..., 1], out=scale)

    for iteration in range(iterations):
        estimate.mul_(length_of(estimate).clamp_(min=1e-30).rsqrt_().mul_(magnitudes))
        current = analyse(synthesise(estimate))
        if (iteration + 1) % _FIT_EVERY == 0:
            magnitudes = fitted_amplitudes(length_of(current).sqrt_(), magnitudes, mel, params)
        if previous is None:
            previous = current
        pair = [torch.view_as_real(spectrum) for spectrum in (previous, current, estimate)]
        torch.lerp(pair[0], pair[1], 1 + _MOMENTUM, out=pair[2])
        previous = current
        report()
    scaled = length_of(current).clamp_(min=1e-30).rsqrt_().mul_(magnitudes)
    return synthesise(current * scaled), current


def partials(magnitudes: torch.Tensor, padding: float) -> torch.Tensor:
    """The bin, with a fraction, of the partial that each bin of (batch, frames, bins) hears.

    Under a Gaussian window a bin's phase advances as that of a partial ``slope / (2 pi gamma)`` bins above it does,
    slope being that of the log magnitude over bins: towards the peak. Gamma is 0.25645 for a Hann window without
    padding (Prusa et al., table I).
    """
    floor = 1e-3 * magnitudes.amax((1, 2), keepdim=True) + 1e-12
    log = (magnitudes + floor).log()
    slope = F.pad((log[..., 2:] - log[..., :-2]) / 2, (1, 1))
    above = (slope * (padding**2 / (2 * math.pi * 0.25645))).clamp_(-2 * padding, 2 * padding)
    return torch.arange(magnitudes.shape[2], device=log.device) + above


def reflected_phase(magnitudes: torch.Tensor, padding: float) -> torch.Tensor:
    """Phase of a frame whose left half is the mirror image of its right half, from (batch, 1, bins) magnitudes.

    Its spectrum is real, seen from its middle: only signs are to be found. A partial that begins at its crest makes one
    peak; one that begins at zero is odd and makes two of opposite sign with a dip between. So signs turn at dips.
    """
    inner = magnitudes[..., 1:-1]
    dips = F.pad((inner < magnitudes[..., :-2]) & (inner <= magnitudes[..., 2:]), (1, 1))
    middle = torch.arange(magnitudes.shape[2], device=magnitudes.device) / padding
    return math.pi * (dips.cumsum(-1) - middle)
