"""Parts of a sound painted anew: which part of it the model sees, how loud the result is, and what it sounds like.

Only the stretches that the regions touch are looked at. What is new gets its phase together with what is kept, which
every iteration puts back in its place, so that it goes on where the kept sound leaves off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from riffusion_space.audio import Waveform
from riffusion_space.codec import DEFAULT_MAX_VALUE, amplitudes_to_pixels, pixels_to_amplitudes
from riffusion_space.mel import mel_amplitudes
from riffusion_space.phase import Kept, reconstruct
from riffusion_space.regions import Region, Stretch, mask, set_in, stretches
from riffusion_space.request import Request
from riffusion_space.spectrogram import SpectrogramParams

# Pixels (channels, bands, columns), strength of each latent cell (rows, width), number of the stretch: new pixels.
Paint = Callable[[torch.Tensor, torch.Tensor, int, Request], torch.Tensor]

_SILENCE = 1e-3 * DEFAULT_MAX_VALUE  # 60 dB below a full-scale tone: nothing to take a level from
_NO_LEVEL = 0.1 * DEFAULT_MAX_VALUE  # of the loudest cell where nothing tells how loud it is
_MAX_GAIN = 4.0  # what the model paints as near silence is not blown up to music
_MARGIN = 40  # columns around the regions whose sound is found with theirs
_HEARD = 1e-3  # of full scale: samples below are taken for silence
_PEAK = 10 ** (-1 / 20)  # of a sound that has no level around it to take


def repaint(wave: Waveform, regions: Sequence[Region], strength: float, params: SpectrogramParams, window: int,
            scale: int, paint: Paint, seed: int, request: Request, level: float | None = None) -> Waveform:
    """The sound with its regions painted anew; outside of them it is the same, sample for sample.

    Args:
        wave: mono or stereo at ``params.sample_rate``.
        regions: inside the sound.
        strength: how far the regions' sound is left behind, 0 to 1.
        window: columns that the model was trained on; ``scale``: columns, and bands, of a latent cell.
        paint: the model.
        seed: of the phase.
        level: how loud the regions become, as a factor of what they were; None takes it from what is around them.
    """
    samples = wave.samples.copy()
    parts = stretches(regions, wave.num_samples, params, window, scale)
    for number, stretch in enumerate(parts):
        part = request.within(number / len(parts), (number + 1) / len(parts))
        part.report(0.0, "Analysing the input")
        sound = stretch.cut(samples, params.hop_length)
        mel = torch.stack([mel_amplitudes(torch.from_numpy(channel[None].copy()), params)[0] for channel in sound])
        mel = mel[..., : stretch.columns]
        weight = torch.from_numpy(mask(stretch, wave.num_samples, params)).flip(0)  # as mel has it, lowest band first
        new = _painted(mel, weight, stretch, strength, wave.num_samples, params, scale,
                       lambda pixels, cells: paint(pixels, cells, number, part))  # noqa: B023  called at once
        gain = _gain(new, mel, weight, level)
        log_gain = strength * math.log(gain or 1.0)
        new = new * torch.exp(log_gain * (_depth(weight, params) if log_gain > 0 else torch.ones(())))
        found = _sound(torch.lerp(mel, new, weight), sound, stretch, wave.num_samples, params, seed, part)
        _put(samples, found, stretch, params, as_the_rest=gain is None)
    return Waveform(samples, wave.sample_rate)


def _painted(mel: torch.Tensor, weight: torch.Tensor, stretch: Stretch, strength: float, samples: int,
             params: SpectrogramParams, scale: int,
             paint: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Mel amplitudes (channels, bands, columns) that the model paints."""
    # A picture's darkest pixel is its loudest: what is to be forgotten must not make the rest pale.
    loudest = float((mel * (weight == 0)).amax())
    if strength < 1 or loudest < _SILENCE:
        loudest = float(mel.amax())
    if loudest < _SILENCE:  # else noise that nobody hears would look like music
        loudest = _NO_LEVEL
    cells = torch.from_numpy(mask(stretch, samples, params, scale))
    # Soft at the border: a cell that is partly kept begins as what it was.
    cells = torch.where(cells > 0, strength * (0.5 + 0.5 * cells), 0.0)
    beyond = (samples - stretch.start) / params.hop_length / scale
    cells[:, torch.arange(cells.shape[1]) >= beyond] = strength  # nothing is there to be kept
    pixels = paint(amplitudes_to_pixels(mel, loudest, params), cells)
    return pixels_to_amplitudes(pixels, loudest, params)


def _gain(new: torch.Tensor, mel: torch.Tensor, weight: torch.Tensor, level: float | None = None) -> float | None:
    """What makes ``new`` as loud as its surroundings; None where all around is silence.

    With a ``level``, what makes it as loud as what was there, times that.

    Levels are root mean squares over cells: of the same bands nearby, else of what was there, else of all bands.
    """
    inside = weight > 0.5
    near = inside.any(1, keepdim=True) & ~inside.any(0)
    if level is not None:
        own = _rms(new, inside)
        return min(max(level * _rms(mel, inside) / own, 1 / _MAX_GAIN), _MAX_GAIN) if own > 0 else 1.0
    for cells in (near, inside, weight == 0):
        if cells.any() and float((mel * cells).amax()) >= _SILENCE:
            own = _rms(new, inside)
            return min(max(_rms(mel, cells) / own, 1 / _MAX_GAIN), _MAX_GAIN) if own > 0 else 1.0
    return None


def _depth(weight: torch.Tensor, params: SpectrogramParams) -> torch.Tensor:
    """How far inside the regions a column lies, (columns,): 0 at a border, 1 from where its window sees no kept sound.

    What a window sees of the kept sound must not get louder.
    """
    reach = params.win_length // params.hop_length // 2
    inside = F.pad(weight.amax(0)[None, None], (reach, reach), mode="replicate")
    return (2 * F.avg_pool1d(inside, 2 * reach + 1, 1)[0, 0] - 1).clamp(0, 1)


def _rms(mel: torch.Tensor, cells: torch.Tensor) -> float:
    return float(mel[:, cells].square().mean().sqrt())


def _sound(mel: torch.Tensor, sound: np.ndarray, stretch: Stretch, samples: int, params: SpectrogramParams, seed: int,
           request: Request) -> np.ndarray:
    """Samples (channels, columns * hop) of a stretch: its sound around the regions, and that of ``mel`` in them."""
    hop = params.hop_length
    weight = np.ones(stretch.columns * hop, np.float32)
    for region in stretch.regions:
        span = region.span(params.sample_rate, samples)
        weight[span.start - stretch.start : span.stop - stretch.start] = 0
    sought = np.flatnonzero(weight == 0)
    weight[samples - stretch.start :] = 0  # mirrored: it only looks like sound
    first = max(0, int(sought[0]) // hop - _MARGIN)
    last = min(stretch.columns - 1, -(-int(sought[-1]) // hop) + _MARGIN)
    part = slice(first * hop, last * hop)
    given = torch.from_numpy(sound[:, part].copy())
    kept = Kept(given, torch.from_numpy(weight[part].copy()))
    mel = mel[..., first : last + 1]
    # The phase goes on from what is kept: backwards, where that is only behind.
    backwards = weight[part][0] == 0 and weight[part][-1] == 1
    if backwards:
        mel, kept = mel.flip(-1), Kept(kept.samples.flip(-1), kept.weight.flip(-1))
    found = reconstruct(mel, params, seed, channels=len(mel), kept=kept,
                        progress=request.stage(0.9, 1.0, "Finding the sound of the picture"))
    result = sound.copy()
    result[:, part] = (found.flip(-1) if backwards else found).numpy()
    return result


def _put(samples: np.ndarray, found: np.ndarray, stretch: Stretch, params: SpectrogramParams,
         as_the_rest: bool) -> None:
    """Set a stretch's regions into the sound, bands first: the join of a whole region then sees them in place.

    ``as_the_rest``: what is new stands amid silence, and gets its level from the sound elsewhere.
    """
    length = min(found.shape[1], samples.shape[1] - stretch.start)
    place = slice(stretch.start, stretch.start + length)
    ceiling = max(1.0, float(np.abs(samples).max()))
    for region in sorted(stretch.regions, key=lambda region: not region.is_band):
        span = region.span(params.sample_rate, samples.shape[1])
        local = slice(span.start - stretch.start, span.stop - stretch.start)
        new, peak = found[:, :length].copy(), float(np.abs(found[:, local]).max())
        if as_the_rest:
            new[:, local] *= _gain_of_the_rest(new[:, local], samples)
        elif peak > ceiling and not region.is_band:  # what is kept cannot be turned down
            new *= ceiling / peak  # outside as well: how far it is from what is kept tells the join what to make up for
        ends = (span.start == 0, span.stop == samples.shape[1])
        samples[:, place] = set_in(samples[:, place], new, local, region, params.sample_rate, ends)


def _gain_of_the_rest(new: np.ndarray, samples: np.ndarray) -> float:
    """What makes new sound as loud as the sound elsewhere, at most -1 dBFS; that, where all is silent."""
    peak = float(np.abs(new).max())
    if peak == 0:
        return 1.0
    loud = np.abs(samples).max(0) >= _HEARD
    rest = float(np.sqrt((samples[:, loud] ** 2).mean() / (new**2).mean())) if loud.any() else math.inf
    return min(_PEAK / peak, rest)
