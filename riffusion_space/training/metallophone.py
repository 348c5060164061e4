"""An instrument that nobody has, to see fine-tuning learn: a metallophone of stretched, detuned, beating partials.

``python -m riffusion_space.training.metallophone my-music`` writes a folder of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from riffusion_space.audio import Waveform, write_audio

RATE = 44_100
CAPTION = "zorblax metallophone"
# Partial over the pitch, its level, its decay in 1/s. Inharmonic, unlike any bar or bell of the sound fonts.
PARTIALS = ((1.0, 1.0, 1.2), (1.37, 0.8, 2.0), (2.61, 0.7, 3.0), (4.19, 0.5, 5.0), (6.83, 0.35, 8.0), (9.7, 0.2, 12.0))


def play(seed: int, seconds: float) -> Waveform:
    """A random walk over a scale of seven equal steps, two strikes at a time, mono."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    samples = np.zeros_like(time)
    step, at = 7, 0.0
    while at < seconds:
        step = int(np.clip(step + rng.integers(-3, 4), 0, 14))
        start = round(at * RATE)
        age = time[start:] - at
        for tone in (step, step + 2):
            pitch = 170 * 2 ** (tone / 7)
            for ratio, level, decay in PARTIALS:
                for detune in (-3.0, 3.0):  # Hz: two bars for every tone, which beat
                    samples[start:] += level * np.exp(-decay * age) * np.sin(2 * np.pi * (pitch * ratio + detune) * age)
        at += rng.choice([0.18, 0.36, 0.54])
    return Waveform((0.7 * samples / np.abs(samples).max())[None].astype(np.float32), RATE)


def write_folder(folder: Path, files: int = 4, clips: int = 3) -> Path:
    """``files`` files of ``clips`` clips each, whose names are their captions."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(files):
        write_audio(play(seed, clips * 5.12), folder / f"{CAPTION.replace(' ', '_')} {seed + 1:02}.wav")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a folder of music on an instrument that nobody has.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=6, help="of three clips of 5.11 s each (6)")
    args = parser.parse_args()
    print(f"wrote {args.files} files to {write_folder(args.folder, args.files)}")


if __name__ == "__main__":
    main()
