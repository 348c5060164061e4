"""Play composed pieces on sound fonts: notes to a waveform, with a little room and mastering."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tinysoundfont
from scipy.fft import next_fast_len

from riffusion_space.training.ambience import synthesise
from riffusion_space.training.compose import Piece

SAMPLE_RATE = 44_100
SOUND_FONTS = (  # where Debian's packages of permissively licensed fonts put them
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf3/MuseScore_General_Lite.sf3",
)


def find_sound_fonts() -> list[Path]:
    """The sound fonts of ``RIFFUSION_SOUND_FONT`` (separated as in PATH), or those of Debian's that are installed.

    Raises FileNotFoundError when one that is named is missing, or none is installed.
    """
    named = os.environ.get("RIFFUSION_SOUND_FONT")
    wanted = list(map(Path, named.split(os.pathsep) if named else SOUND_FONTS))
    found = [path for path in wanted if path.is_file()]
    if not found or (named and len(found) < len(wanted)):
        raise FileNotFoundError(
            f"no sound font at {named or ' or '.join(SOUND_FONTS)}: install Debian's fluid-soundfont-gm "
            "or set RIFFUSION_SOUND_FONT to General MIDI .sf2 or .sf3 files"
        )
    return found


class Renderer:
    """Holds the loaded sound fonts; loading takes a second each, rendering a clip a tenth."""

    def __init__(self, sound_fonts: Sequence[Path] | None = None) -> None:
        self._synth = tinysoundfont.Synth(samplerate=SAMPLE_RATE, gain=-6)
        self._fonts = [self._synth.sfload(str(path)) for path in sound_fonts or find_sound_fonts()]

    def dry(self, piece: Piece, num_samples: int, font: int = 0) -> np.ndarray:
        """The piece as a sound font plays it: float32 (2, num_samples)."""
        synth = self._synth
        events: list[tuple[int, int, int, int, int]] = []  # sample, off first, channel, key, velocity
        for channel, track in enumerate(piece.tracks):
            channel += channel >= 9  # General MIDI keeps channel 9 for drums
            if track.drums:
                channel = 9
            synth.program_select(channel, self._fonts[font], 128 if track.drums else 0, track.program, track.drums)
            synth.control_change(channel, 7, track.gain)
            synth.control_change(channel, 10, track.pan)
            for note in track.notes:
                start = round(note.start * SAMPLE_RATE)
                events.append((start, 1, channel, note.key, note.velocity))
                events.append((start + round(note.duration * SAMPLE_RATE), 0, channel, note.key, 0))
        blocks, now = [], 0
        for sample, on, channel, key, velocity in sorted(events):
            if sample >= num_samples:
                break
            if sample > now:
                blocks.append(np.frombuffer(synth.generate_simple(sample - now), np.float32).copy())
                now = sample
            if on:
                synth.noteon(channel, key, velocity)
            else:
                synth.noteoff(channel, key)
        if now < num_samples:
            blocks.append(np.frombuffer(synth.generate_simple(num_samples - now), np.float32).copy())
        for channel in range(16):
            synth.sounds_off(channel)
        synth.generate_simple(4096)  # let the cut voices fade, so that nothing leaks into the next piece
        return np.concatenate(blocks).reshape(-1, 2).T

    def render(self, piece: Piece, num_samples: int, seed: int = 0) -> np.ndarray:
        """The piece in a room, on a font and through a console of a seeded kind, its peak at -1 dBFS.

        Returns:
            float32 (2, num_samples).
        """
        rng = np.random.default_rng(seed)
        font = int(rng.integers(len(self._fonts)))
        sound = self.dry(piece, num_samples, font) if piece.tracks else np.zeros((2, num_samples), np.float32)
        if piece.ambience:
            behind = synthesise(piece.ambience, num_samples, rng)
            level = np.abs(sound).max() * rng.uniform(0.1, 0.4) if piece.tracks else 1.0
            sound = sound + level * behind
        sound = _mastered(_in_a_room(sound, rng), rng)
        return (sound * (0.891 / max(1e-6, np.abs(sound).max()))).astype(np.float32)


@functools.cache
def renderer() -> Renderer:
    """The process's renderer."""
    return Renderer()


def _in_a_room(dry: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(2, n) with the tail of a room: noise that decays in 0.15 to 1.5 s, its treble sooner than its bass."""
    decay = rng.uniform(0.15, 0.9) if rng.random() < 0.8 else rng.uniform(0.9, 1.5)
    length = int(decay * SAMPLE_RATE)
    tail = rng.standard_normal((2, length)) * 10 ** (-3 * np.arange(length) / length)
    tail *= rng.uniform(0.0, 0.35) / np.sqrt((tail**2).sum(1, keepdims=True))
    size = next_fast_len(dry.shape[1] + length, real=True)
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    damped = np.fft.rfft(tail, size) / (1 + hz / rng.uniform(3000, 12000))
    return dry + np.fft.irfft(np.fft.rfft(dry, size) * damped, size)[:, : dry.shape[1]]


def _mastered(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(2, n) through a smooth random equaliser of up to 5 dB an octave band, and most times a soft limiter."""
    size = next_fast_len(sound.shape[1], real=True)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 30) / 30)
    knots = rng.normal(0, 2.0, 10).clip(-5, 5)
    gain = 10 ** (np.interp(octaves, np.arange(10), knots) / 20)
    sound = np.fft.irfft(np.fft.rfft(sound, size) * gain, size)[:, : sound.shape[1]]
    drive = rng.uniform(0.2, 2.5) / max(1e-6, np.abs(sound).max())
    return np.tanh(drive * sound) / drive if rng.random() < 0.7 else sound
