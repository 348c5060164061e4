"""One sound turning into another: where each of the two is read at every moment, and how far along that moment is.

Both pictures are encoded to latents, which are interpolated under the same noise and denoised from there: Wang and
Golland, "Interpolating between Images with Diffusion Models", 2023. Along one canvas the share of the second grows, and
with it how much the model may change, most in the middle; the ends are what was given. Where both sounds have a steady
beat, the tempo glides from one to the other and their beats fall together: the pictures are read faster or slower, and
their pitch stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from riffusion_space.tempo import Beat

_HELD = 1 / 6  # of the piece, at either end, is what was given


@dataclass(frozen=True, eq=False)
class Course:
    """For each moment of a morph, (n,): how far along it is, 0 to 1, and the seconds at which either sound is read."""

    along: np.ndarray
    first_s: np.ndarray
    second_s: np.ndarray


def course(moments: np.ndarray, duration_s: float, lengths_s: tuple[float, float],
         beats: tuple[Beat | None, Beat | None] = (None, None)) -> Course:
    """How a morph of ``duration_s`` goes at ``moments`` in seconds (n,).

    The first sound plays from its beginning, the second so that it ends with the morph; where one is too short it is
    repeated, by whole bars if it has a beat.

    >>> course(np.array([0.0, 3.0, 6.0]), 6.0, (10.0, 10.0)).along.tolist()
    [0.0, 0.5, 1.0]
    """
    held = duration_s * _HELD
    linear = ((moments - held) / (duration_s - 2 * held)).clip(0, 1)
    along = linear * linear * (3 - 2 * linear)
    first, second = moments, moments - duration_s
    periods = list(lengths_s)
    if beats[0] is not None and beats[1] is not None:
        first, second = _glided(moments, along, duration_s, lengths_s, (beats[0], _counted(beats[1], beats[0])))
    for index, beat in enumerate(beats):
        if beat is not None:
            periods[index] = min(beat.bars_s(lengths_s[index]), lengths_s[index])
    return Course(along, first % periods[0], lengths_s[1] - (-second) % periods[1])


def _counted(beat: Beat, like: Beat) -> Beat:
    """A beat counted at half or twice its tempo, if that is nearer to another's."""
    step = beat.step_s * 2.0 ** round(np.log2(like.step_s / beat.step_s))
    return Beat(step, beat.first_s % step)


def _glided(moments: np.ndarray, along: np.ndarray, duration_s: float, lengths_s: tuple[float, float],
            beats: tuple[Beat, Beat]) -> tuple[np.ndarray, np.ndarray]:
    """Seconds from the first sound's beginning, and, below 0, from the second's end, on one clock of beats."""
    a, b = beats
    # The clock in beats, by the tempo at each hundredth of a second.
    fine = np.arange(0, duration_s + 0.01, 0.01)
    share = np.interp(fine, moments, along)
    tempo = a.step_s ** -(1 - share) * b.step_s**-share
    clock = np.concatenate([[0], np.cumsum((tempo[1:] + tempo[:-1]) / 2 * 0.01)])
    total = float(np.interp(duration_s, fine, clock))
    # The beats of both at the same moments: what they are apart is made up for on the way.
    apart = (a.first_s / a.step_s - (total - (lengths_s[1] - b.first_s) / b.step_s)) % 1
    apart -= apart > 0.5
    beaten = np.interp(moments, fine, clock) + apart * along
    return beaten * a.step_s, (beaten - total - apart) * b.step_s
