"""Render the built-in seed images: whole-measure loops of known tempo and key, 512 columns that join end to start.

``python -m riffusion_space.training.seed_images --out assets/seed_images``
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
from pathlib import Path

from riffusion_space.audio import Waveform
from riffusion_space.codec import encode
from riffusion_space.seed_images import SeedImage
from riffusion_space.spectrogram import CLIP_COLUMNS
from riffusion_space.training.compose import (
    MAJOR,
    MINOR,
    Harmony,
    Piece,
    Player,
    Track,
    write_bass,
    write_chords,
    write_drums,
    write_melody,
)
from riffusion_space.training.corpus import PARAMS
from riffusion_space.training.render import Renderer, find_sound_fonts
from riffusion_space.training.sounds import INSTRUMENT

LOOP_SECONDS = CLIP_COLUMNS * PARAMS.hop_length / PARAMS.sample_rate  # 5.12


def _tracks(name: str, bpm: float, bars: int, rng: random.Random) -> tuple[Track, ...]:
    """The parts of a loop, played once."""
    c_major, a_minor = Harmony(0, MAJOR, (0, 5, 3, 4)), Harmony(9, MINOR, (0, 5, 2, 6))
    d_minor = Harmony(2, MINOR, (0, 3, 4, 0))

    def part(write, program: int, loudness: int = 90, **kwargs) -> Track:
        player = Player(rng, bpm, 0.0, loudness, tight=True)
        write(player)
        return player.track(program, **kwargs)

    if name == "beat":
        return (part(lambda p: write_drums(p, "backbeat", bars), 0, drums=True),)
    if name == "four-on-the-floor":
        return (part(lambda p: write_drums(p, "four", bars), 0, drums=True),
                part(lambda p: write_bass(p, a_minor, bars, "offbeat"), 38))
    if name == "piano-chords":
        return (part(lambda p: write_chords(p, c_major, 52, bars, "pulse", 3), 0),)
    if name == "guitar-arpeggio":
        return (part(lambda p: write_chords(p, a_minor, 50, bars, "arpeggio", 3), 24),)
    if name == "marimba-melody":
        return (part(lambda p: write_melody(p, d_minor, INSTRUMENT["marimba"], bars, 0.8), 12),)
    return (part(lambda p: write_drums(p, "funk", bars), 0, drums=True),
            part(lambda p: write_bass(p, d_minor, bars, "slap"), 36),
            part(lambda p: write_chords(p, d_minor, 55, bars, "scratch", 4), 27, gain=84))


LOOPS = (  # name, bars, key, description
    ("beat", 2, "none", "a plain rock drum beat"),
    ("four-on-the-floor", 3, "A minor", "techno drums and bass"),
    ("piano-chords", 2, "C major", "piano chords on every beat"),
    ("guitar-arpeggio", 2, "A minor", "a plucked guitar arpeggio"),
    ("marimba-melody", 3, "D minor", "a quick marimba melody"),
    ("funk-groove", 2, "D minor", "funk drums, slap bass and guitar"),
)


def render_loop(name: str, bars: int, renderer: Renderer) -> Waveform:
    """One loop, mono, 5.12 s: the second of three rounds, so that what rings over the end is heard at the start."""
    bpm = 240 * bars / LOOP_SECONDS
    once = _tracks(name, bpm, bars, random.Random(name))
    rounds = tuple(dataclasses.replace(track, notes=tuple(
        dataclasses.replace(note, start=note.start + turn * LOOP_SECONDS)
        for turn in range(3) for note in track.notes if note.start < LOOP_SECONDS)) for track in once)
    piece = Piece("genre", (), "", "band", "happy", round(bpm), "", rounds)
    samples = round(3 * LOOP_SECONDS * PARAMS.sample_rate)
    return Waveform(renderer.render(piece, samples, seed=0).mean(0, keepdims=True), PARAMS.sample_rate)


def write_seed_images(out: Path) -> None:
    """Write the PNGs and ``index.json``. Needs a sound font."""
    out.mkdir(parents=True, exist_ok=True)
    renderer = Renderer(find_sound_fonts()[:1])
    index = []
    for name, bars, key, description in LOOPS:
        wave = render_loop(name, bars, renderer)
        image = encode(wave, PARAMS)
        loop = image.crop((CLIP_COLUMNS, 0, 2 * CLIP_COLUMNS, image.height))
        loop.save(out / f"{name}.png", exif=image.getexif(), optimize=True)
        index.append(dataclasses.asdict(SeedImage(name, description, round(240 * bars / LOOP_SECONDS, 3), key, bars)))
        print(f"{name}: {index[-1]['bpm']} BPM, {key}")
    (out / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the built-in seed images.")
    parser.add_argument("--out", type=Path, default=Path("assets/seed_images"))
    write_seed_images(parser.parse_args().out)


if __name__ == "__main__":
    main()
