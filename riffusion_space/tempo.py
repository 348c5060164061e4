"""Tempo and key: asked for by number and name, and measured on a sound.

What is asked for reaches the checkpoint as the words that such checkpoints are taught with ("techno, 130 bpm, in A
minor"), and the length of a piece as a number of bars. Bars are of four beats.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from riffusion_space.audio import Waveform

MIN_BPM, MAX_BPM = 40.0, 240.0
MAX_BARS = 256
BEATS_PER_BAR = 4
STEADINESS = 0.4  # of a long piece, by default (``steady``)
NOTES = ("C", "C sharp", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")  # as captions have them
KEYS = tuple(f"{note} {mode}" for mode in ("major", "minor") for note in NOTES)

_KEY = re.compile(r"([A-Ga-g])[\s-]*(sharp|flat|#|b|♯|♭)?[\s-]*(major|minor|maj|min)?", re.IGNORECASE)
_NAMED_TEMPO = re.compile(r"(\d+(?:\.\d+)?)\s*(?:bpm|beats per minute)\b", re.IGNORECASE)
_NAMED_KEY = re.compile(  # "in a minor key" names none
    r"\bin (?-i:[A-G])(?:[\s-]?(?:sharp|flat)|[#b♯♭])? (?:major|minor)\b", re.IGNORECASE)
_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_HOP = 256  # of the onset strength, in samples at _RATE: 12 ms
_RATE = 22050
_FEWEST_BEATS = 6
_FINE_HOP = 64
_COARSE = 0.02  # by so much the tracker's step may be wrong
_STEADY = 0.8  # of a steady beat
_LOOKED_AT = (120.0, 80.0, 165.0)  # where the tracker begins: it finds what is near

# How strongly the twelve notes above the keynote belong to it: Krumhansl and Kessler, "Tracing the dynamic changes in
# perceived tonal organization in a spatial representation of musical keys", 1982.
_MAJOR = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
_MINOR = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])


@dataclass(frozen=True)
class Measured:
    """What a sound was found to be: ``bpm`` in beats per minute, None where no beat was found; ``key`` such as "A
    minor", None for silence.
    """

    bpm: float | None
    key: str | None


def key_name(text: str) -> str:
    """A key as captions spell it; major where it does not say.

    >>> key_name("c# minor"), key_name("Bb"), key_name("D flat major")
    ('C sharp minor', 'B flat major', 'C sharp major')

    Raises ValueError for what is no key.
    """
    match = _KEY.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"expected a key such as 'C', 'A minor' or 'F sharp minor', got {text!r}")
    letter, accidental, mode = match.groups()
    shift = {"s": 1, "#": 1, "♯": 1, "f": -1, "b": -1, "♭": -1}[accidental[0].lower()] if accidental else 0
    minor = mode is not None and mode.lower().startswith("min")
    return f"{NOTES[(_SEMITONES[letter.upper()] + shift) % 12]} {'minor' if minor else 'major'}"


def with_tempo(prompt: str, bpm: float | None = None, key: str | None = None) -> str:
    """A prompt that names tempo and key, unless it already does.

    >>> with_tempo("techno", 130, "A minor"), with_tempo("techno at 140 bpm", 130)
    ('techno, 130 bpm, in A minor', 'techno at 140 bpm')
    """
    words = [prompt.strip()] if prompt.strip() else []
    if bpm is not None and not _NAMED_TEMPO.search(prompt):
        words.append(f"{round(bpm)} bpm")
    if key is not None and not _NAMED_KEY.search(prompt):
        words.append(f"in {key_name(key)}")
    return ", ".join(words) if words and words != [prompt.strip()] else prompt


def named_bpm(prompt: str) -> float | None:
    """The tempo that a prompt names, or None where it names none from 40 to 240.

    >>> named_bpm("techno at 130 BPM"), named_bpm("techno")
    (130.0, None)
    """
    found = _NAMED_TEMPO.search(prompt)
    bpm = float(found[1]) if found else 0.0
    return bpm if MIN_BPM <= bpm <= MAX_BPM else None


def bar_s(bpm: float) -> float:
    """Seconds of a bar."""
    return BEATS_PER_BAR * 60 / bpm


def piece_samples(duration_s: float, rate: int, bpm: float | None = None, bars: int | None = None,
                  loop: bool = False, longest_s: float = math.inf) -> int:
    """Samples of a piece: of ``bars`` bars to the nearest sample; a loop of a tempo is of the whole bars that come
    nearest to ``duration_s`` and, if there are any, fit into ``longest_s``.

    >>> piece_samples(5.11, 44100), piece_samples(5.11, 44100, 130, 4), piece_samples(5.11, 44100, 120, loop=True)
    (225351, 325662, 264600)

    Raises ValueError for bars without a tempo.
    """
    if bars is not None and bpm is None:
        raise ValueError("expected bpm beside bars, to say how long a bar is, got bars alone")
    if bars is None and loop and bpm is not None:
        bars = math.floor(duration_s / bar_s(bpm) + 0.5)
        bars = max(1, bars - (bars * bar_s(bpm) > longest_s))
    return round((duration_s if bars is None else bars * bar_s(bpm)) * rate)


def measure(wave: Waveform, bpm: float | None = None) -> Measured:
    """Tempo and key of a sound, mono or mixed to it.

    Beats are those of librosa's tracker (Ellis, "Beat tracking by dynamic programming", 2007); the tempo is that of the
    straight line through them, which is far finer than the tracker's own estimate. The key is the one whose profile
    resembles the sound's mean chroma most.

    Args:
        wave: at any rate; a few seconds or more, or there is no telling.
        bpm: where to look for the tempo first: half and double are the same beat counted otherwise.
    """
    mono = wave.to_mono().resampled(_RATE).samples[0]
    if not np.abs(mono).max() > 0:
        return Measured(None, None)
    beats = beats_of(mono, _RATE, bpm)
    tempo = None if len(beats) < 4 else round(60 / beat_line(beats)[0], 2)
    return Measured(tempo, _key(mono))


def beats_of(mono: np.ndarray, rate: int, bpm: float | None = None) -> np.ndarray:
    """Beats in seconds of samples (n,); ``bpm`` is where to look first."""
    import librosa  # takes seconds to import, and few need it

    onsets = librosa.onset.onset_strength(y=mono, sr=rate, hop_length=_HOP, aggregate=np.median)
    if not onsets.any():
        return np.zeros(0)
    _, beats = librosa.beat.beat_track(onset_envelope=onsets, sr=rate, hop_length=_HOP, start_bpm=bpm or 120.0,
                                       units="time", trim=False)
    return np.asarray(beats)


def beat_line(beats: np.ndarray) -> tuple[float, np.ndarray]:
    """Seconds from beat to beat of the straight line through ``beats`` (n,), and how late each is, in seconds."""
    step = float(np.median(np.diff(beats)))
    number = np.concatenate([[0], np.cumsum(np.maximum(1, np.round(np.diff(beats) / step)))])
    slope, offset = np.polyfit(number, beats, 1)
    return float(slope), beats - (slope * number + offset)


@dataclass(frozen=True)
class Beat:
    """A steady beat: seconds from one to the next, and of the first."""

    step_s: float
    first_s: float

    def bars_s(self, longest_s: float) -> float:
        """Seconds of the whole bars that fit into so many, or where there is no room for one, of the beats."""
        beats = max(1, math.floor(longest_s / self.step_s))
        return self.step_s * (beats - beats % BEATS_PER_BAR or beats)


def steady_beat(wave: Waveform) -> Beat | None:
    """The beat of a sound, or None where it has none, or one that comes and goes."""
    mono = wave.to_mono().resampled(_RATE).samples[0]
    if not np.abs(mono).max() > 0:
        return None
    best, found = _STEADY, None
    for bpm in _LOOKED_AT:
        beats = beats_of(mono, _RATE, bpm)
        if len(beats) < _FEWEST_BEATS:
            continue
        steps = np.diff(beats)
        usual = steps[np.abs(steps / np.median(steps) - 1) < 0.1]
        if not len(usual):  # as many of one length as of another
            continue
        step = _refined(mono, float(usual.mean()))
        # How much the beats are at one place between two of them: 1 is always, 0 anywhere.
        turn = np.exp(2j * np.pi * beats / step).mean()
        if abs(turn) > best:
            best, found = abs(turn), Beat(step, float(np.angle(turn)) / (2 * math.pi) * step % step)
    return found


def _refined(mono: np.ndarray, step_s: float) -> float:
    """A beat's step, from how well the onsets repeat after as many beats as half of the sound holds.

    The tracker knows each beat to a hundredth of a second, which over a few bars is too coarse to go on from.
    """
    import librosa

    onsets = librosa.onset.onset_strength(y=mono, sr=_RATE, hop_length=_FINE_HOP, aggregate=np.median)
    onsets = onsets - onsets.mean()
    beats = math.floor(len(onsets) / 2 * _FINE_HOP / _RATE / step_s)
    beats -= beats % BEATS_PER_BAR if beats >= BEATS_PER_BAR else 0
    if beats < 1:
        return step_s
    lag = beats * step_s * _RATE / _FINE_HOP
    around = range(math.floor(lag * (1 - _COARSE)) - 1, math.ceil(lag * (1 + _COARSE)) + 2)
    alike = np.array([np.dot(onsets[:-shift], onsets[shift:]) / (len(onsets) - shift) for shift in around])
    best = int(alike[1:-1].argmax()) + 1
    left, middle, right = alike[best - 1 : best + 2]
    curve = left - 2 * middle + right
    peak = around[best] + (0.5 * (left - right) / curve if curve < 0 else 0.0)
    return float(peak) * _FINE_HOP / _RATE / beats


def _key(mono: np.ndarray) -> str:
    import librosa

    chroma = librosa.feature.chroma_cqt(y=mono, sr=_RATE).mean(1)
    fits = [(float(np.corrcoef(np.roll(profile, note), chroma)[0, 1]), f"{NOTES[note]} {mode}")
            for profile, mode in ((_MAJOR, "major"), (_MINOR, "minor")) for note in range(12)]
    return max(fits)[1]
