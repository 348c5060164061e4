"""The corpus: composed, rendered and analysed clips in shards on disk.

``python -m riffusion_space.training.corpus --out data/corpus --clips 6000`` writes shards of 100 clips. A shard that
exists is not made again, so an interrupted run goes on where it stopped. Seeds below ``HELD_OUT_SEEDS`` are never
trained on: benchmarks/adherence.py judges with them. Two thirds of the work is analysis, which a GPU does at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import torch

from riffusion_space.codec import amplitudes_to_pixels
from riffusion_space.mel import mel_amplitudes
from riffusion_space.spectrogram import CLIP_COLUMNS, SpectrogramParams
from riffusion_space.training.compose import Piece, compose

HELD_OUT_SEEDS = 100_000
SHARD_CLIPS = 100
PARAMS = SpectrogramParams()
CLIP_SAMPLES = PARAMS.samples_for_columns(CLIP_COLUMNS)


def analyse(samples: np.ndarray, device: torch.device | None = None) -> np.ndarray:
    """Pixels, uint8 (512, 512), of a clip (channels, n) at 44.1 kHz, mixed to mono and scaled to its own maximum."""
    mono = torch.from_numpy(samples.mean(0, keepdims=True)).to(device)
    mel = mel_amplitudes(mono, PARAMS)
    return amplitudes_to_pixels(mel, float(mel.max()), PARAMS)[0].cpu().numpy()


def vocabulary(checkpoint: Path) -> frozenset[str]:
    """The names of the sounds and genres that a checkpoint's folder says it was taught."""
    known = json.loads((checkpoint / "riffusion.json").read_text(encoding="utf-8"))["vocabulary"]
    return frozenset(name for names in known.values() for name in names)


def play(seeds: range, analysed: bool = True) -> tuple[list[Piece], list[np.ndarray]]:
    """Compose and render the pieces that ``seeds`` name; needs a sound font (see render.py).

    Returns the pieces without their notes, and of each what ``analyse`` gives, or else the sound, float32
    (1, CLIP_SAMPLES).
    """
    from riffusion_space.training.render import renderer

    pieces, clips = [], []
    for seed in seeds:
        piece = compose(seed, CLIP_SAMPLES / PARAMS.sample_rate)
        sound = renderer().render(piece, CLIP_SAMPLES, seed).mean(0, keepdims=True)
        clips.append(analyse(sound) if analysed else sound)
        pieces.append(dataclasses.replace(piece, tracks=()))
    return pieces, clips


def _play(task: tuple[range, bool]) -> tuple[int, list[Piece], list[np.ndarray]]:
    torch.set_num_threads(1)
    return task[0].start, *play(*task)


def write_corpus(folder: Path, clips: int, workers: int, first_seed: int = HELD_OUT_SEEDS,
                 device: torch.device | None = None) -> None:
    """Write the shards of ``clips`` clips (rounded up to whole shards) that are not in ``folder`` yet.

    ``device``: the GPU that analyses what the processes play; without one, they do that themselves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    starts = [start for start in range(first_seed, first_seed + clips, SHARD_CLIPS)
              if not (folder / f"shard_{start:07d}.npy").exists()]
    tasks = [(range(start, start + SHARD_CLIPS), device is None) for start in starts]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for done, (start, pieces, played) in enumerate(pool.imap_unordered(_play, tasks), 1):
            path = folder / f"shard_{start:07d}.npy"
            write_shard(path, pieces, played if device is None else [analyse(sound, device) for sound in played])
            print(f"{path.name}: {done} of {len(tasks)} shards", flush=True)


def write_shard(path: Path, pieces: list[Piece], pixels: list[np.ndarray]) -> None:
    """Write clips, uint8 (n, 512, 512), and beside them what was composed; whoever sees the one finds the other."""
    path.with_suffix(".json").write_text(json.dumps([dataclasses.asdict(piece) for piece in pieces]))
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, np.stack(pixels))
    partial.rename(path)


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
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else None,
                        help="the GPU that analyses, if any")
    args = parser.parse_args()
    write_corpus(args.out, args.clips, args.workers, device=args.device)


if __name__ == "__main__":
    main()
