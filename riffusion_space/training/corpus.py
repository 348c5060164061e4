"""The corpus: composed, rendered and analysed clips in shards on disk.

``python -m riffusion_space.training.corpus --out data/corpus --clips 6000`` writes shards of 100 clips. A shard that
exists is not made again, so an interrupted run goes on where it stopped. Seeds below ``HELD_OUT_SEEDS`` are never
trained on: benchmarks/adherence.py judges with them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from riffusion_space.codec import amplitudes_to_pixels
from riffusion_space.mel import mel_amplitudes
from riffusion_space.spectrogram import CLIP_COLUMNS, SpectrogramParams
from riffusion_space.training.captions import caption
from riffusion_space.training.compose import Piece, compose

HELD_OUT_SEEDS = 100_000
SHARD_CLIPS = 100
PARAMS = SpectrogramParams()
CLIP_SAMPLES = PARAMS.samples_for_columns(CLIP_COLUMNS)


@dataclass(frozen=True)
class Clip:
    """One analysed clip: uint8 pixels (bands, columns) as in a spectrogram image, and what was composed."""

    pixels: np.ndarray
    piece: Piece  # without its notes

    def caption(self, rng: random.Random) -> str:
        return caption(self.piece, rng)


def analyse(samples: np.ndarray) -> np.ndarray:
    """Pixels, uint8 (512, 512), of a clip (channels, n) at 44.1 kHz, mixed to mono and scaled to its own maximum."""
    mono = torch.from_numpy(samples.mean(0, keepdims=True))
    mel = mel_amplitudes(mono, PARAMS)
    return amplitudes_to_pixels(mel, float(mel.max()), PARAMS)[0].numpy()


def vocabulary(checkpoint: Path) -> frozenset[str]:
    """The names of the sounds and genres that a checkpoint's folder says it was taught."""
    known = json.loads((checkpoint / "riffusion.json").read_text(encoding="utf-8"))["vocabulary"]
    return frozenset(name for names in known.values() for name in names)


def make_clips(seeds: range, known: frozenset[str] | None = None) -> Iterator[Clip]:
    """Compose, render and analyse the pieces that ``seeds`` name. Needs a sound font (see render.py).

    With ``known``, pieces of other sounds and genres are left out.
    """
    from riffusion_space.training.render import Renderer

    renderer = Renderer()
    for seed in seeds:
        piece = compose(seed, CLIP_SAMPLES / PARAMS.sample_rate)
        if known is not None and not piece.sounds <= known:
            continue
        pixels = analyse(renderer.render(piece, CLIP_SAMPLES, seed))
        yield Clip(pixels, dataclasses.replace(piece, tracks=()))


def _write_shard(task: tuple[Path, range, frozenset[str] | None]) -> Path:
    folder, seeds, known = task
    torch.set_num_threads(1)
    clips = list(make_clips(seeds, known))
    path = folder / f"shard_{seeds.start:07d}.npy"
    write_pieces(path, [clip.piece for clip in clips])
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, np.stack([clip.pixels for clip in clips]))
    partial.rename(path)
    return path


def write_corpus(folder: Path, clips: int, workers: int, first_seed: int = HELD_OUT_SEEDS,
                 known: frozenset[str] | None = None) -> None:
    """Write the shards of ``clips`` clips (rounded up to whole shards) that are not in ``folder`` yet.

    With ``known``, shards are smaller by the pieces of other sounds and genres.
    """
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(first_seed, first_seed + clips, SHARD_CLIPS)
    tasks = [(folder, range(s, s + SHARD_CLIPS), known) for s in starts if not (folder / f"shard_{s:07d}.npy").exists()]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for done, path in enumerate(pool.imap_unordered(_write_shard, tasks), 1):
            print(f"{path.name}: {done} of {len(tasks)} shards", flush=True)


def write_pieces(shard: Path, pieces: list[Piece]) -> None:
    """Write what was composed beside a shard."""
    shard.with_suffix(".json").write_text(json.dumps([dataclasses.asdict(piece) for piece in pieces]))


def read_pieces(shard: Path) -> list[Piece]:
    """The pieces (without notes) of one shard, in the order of its pixels or latents."""
    rows = json.loads(shard.with_suffix(".json").read_text())
    return [Piece(**{**row, "instruments": tuple(row["instruments"]), "genres": tuple(row["genres"]), "tracks": ()})
            for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compose, render and analyse the training corpus.")
    parser.add_argument("--out", type=Path, default=Path("data/corpus"), help="folder of the shards")
    parser.add_argument("--clips", type=int, default=6000, help="how many clips of 5.11 s")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--known-to", type=Path, metavar="CHECKPOINT",
                        help="a checkpoint's folder: leave out the sounds and genres that it was not taught")
    args = parser.parse_args()
    write_corpus(args.out, args.clips, args.workers, known=args.known_to and vocabulary(args.known_to))


if __name__ == "__main__":
    main()
