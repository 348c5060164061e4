"""Play composed pieces on a sound font: notes to a waveform, with a little room and mastering."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import tinysoundfont

from riffusion_space.training.compose import Piece

SAMPLE_RATE = 44_100
SOUND_FONTS = (  # where Debian's packages of permissively licensed fonts put them
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf3/MuseScore_General_Lite.sf3",
)


def find_sound_font() -> Path:
    """The sound font of ``RIFFUSION_SOUND_FONT``, or the first of Debian's that is installed.

    Raises FileNotFoundError when there is none.
    """
    named = os.environ.get("RIFFUSION_SOUND_FONT")
    for path in map(Path, [named] if named else SOUND_FONTS):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"no sound font at {named or ' or '.join(SOUND_FONTS)}: install Debian's fluid-soundfont-gm "
        "or set RIFFUSION_SOUND_FONT to a General MIDI .sf2 or .sf3 file"
    )


class Renderer:
    """Holds one loaded sound font; loading takes a second, rendering a clip a tenth."""

    def __init__(self, sound_font: Path | None = None) -> None:
        self._synth = tinysoundfont.Synth(samplerate=SAMPLE_RATE, gain=-6)
        self._font = self._synth.sfload(str(sound_font or find_sound_font()))

    def dry(self, piece: Piece, num_samples: int) -> np.ndarray:
        """The piece as the sound font plays it: float32 (2, num_samples)."""
        synth = self._synth
        events: list[tuple[int, int, int, int, int]] = []  # sample, off first, channel, key, velocity
        for channel, track in enumerate(piece.tracks):
            channel += channel >= 9  # General MIDI keeps channel 9 for drums
            if track.drums:
                channel = 9
            synth.program_select(channel, self._font, 128 if track.drums else 0, track.program, track.drums)
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
        """The piece in a room of a seeded size, its peak at -1 dBFS: float32 (2, num_samples)."""
        rng = np.random.default_rng(seed)
        dry = self.dry(piece, num_samples)
        decay = rng.uniform(0.15, 0.9)  # seconds until the tail fell by 60 dB
        length = int(decay * SAMPLE_RATE)
        tail = rng.standard_normal((2, length)) * 10 ** (-3 * np.arange(length) / length)
        tail *= rng.uniform(0.0, 0.35) / np.sqrt((tail**2).sum(1, keepdims=True))
        size = 1 << (num_samples + length - 1).bit_length()
        wet = np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(tail, size), size)[:, :num_samples]
        mix = dry + wet
        return (mix * (0.891 / max(1e-6, np.abs(mix).max()))).astype(np.float32)
