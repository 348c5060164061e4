"""Render the short recordings that the page offers to restyle.

``python -m riffusion_space.training.examples --out assets/examples``
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from riffusion_space.audio import Waveform, write_audio
from riffusion_space.training.compose import Piece, compose_genre, compose_solo
from riffusion_space.training.render import SAMPLE_RATE, Renderer, find_sound_fonts
from riffusion_space.training.sounds import GENRE, INSTRUMENT

SECONDS = 8.0


def _pick(compose_one, wanted) -> Piece:
    """The first piece, over seeds, that is as wanted."""
    return next(piece for seed in range(1000) if wanted(piece := compose_one(random.Random(seed))))


def write_examples(out: Path) -> None:
    """Write the recordings, stereo MP3. Needs a sound font."""
    out.mkdir(parents=True, exist_ok=True)
    renderer = Renderer(find_sound_fonts()[:1])
    pieces = {
        "piano-melody": _pick(lambda rng: compose_solo(rng, INSTRUMENT["piano"], SECONDS),
                              lambda piece: piece.texture == "melody" and piece.mood == "happy"),
        "rock-beat": _pick(lambda rng: compose_genre(rng, GENRE["rock"], SECONDS), lambda piece: piece.bpm == 120),
    }
    for name, piece in pieces.items():
        samples = renderer.render(piece, round(SECONDS * SAMPLE_RATE), seed=0)
        print(write_audio(Waveform(samples, SAMPLE_RATE), out / f"{name}.mp3"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the page's example recordings.")
    parser.add_argument("--out", type=Path, default=Path("assets/examples"))
    write_examples(parser.parse_args().out)


if __name__ == "__main__":
    main()
