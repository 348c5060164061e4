"""How much of a recording survives the autoencoder? Restyling at little strength can be no better than this.

``python benchmarks/roundtrip.py FOLDER`` cuts a clip out of the middle of each recording in a folder and compares it
with what comes back from the codec alone (spectrogram image and phase) and from codec and autoencoder together: the
peak signal-to-noise ratio of the images, and the mel spectral convergence of the sounds (norm of the difference over
norm of the original; smaller is better). The table goes to benchmarks/results/roundtrip.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from riffusion_space.audio import SUFFIXES, Waveform, read_audio
from riffusion_space.codec import amplitudes_to_pixels, pixels_to_amplitudes
from riffusion_space.latents import decode_latents, encode_pixels
from riffusion_space.mel import mel_amplitudes
from riffusion_space.phase import reconstruct
from riffusion_space.pipeline import RiffusionPipeline
from riffusion_space.spectrogram import CLIP_COLUMNS, SpectrogramParams

RESULTS = Path(__file__).resolve().parent / "results/roundtrip.md"
PARAMS = SpectrogramParams()


def middle(path: Path) -> np.ndarray:
    """A clip (1, n) out of the middle of a recording, at 44.1 kHz and a peak of -1 dBFS."""
    wave = read_audio(path).to_mono().resampled(PARAMS.sample_rate)
    length = PARAMS.samples_for_columns(CLIP_COLUMNS)
    start = max(0, (wave.num_samples - length) // 2)
    return Waveform(wave.samples[:, start:start + length], wave.sample_rate).normalized().samples


def convergence(samples: torch.Tensor, mel: torch.Tensor) -> float:
    """Of samples (1, n) whose mel spectrogram should be ``mel`` (1, bands, columns)."""
    return float((mel_amplitudes(samples, PARAMS) - mel).norm() / mel.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the round trip of recordings.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", default="embedded")
    parser.add_argument("--clips", type=int, default=24, help="at most so many recordings, evenly picked")
    args = parser.parse_args()
    paths = [path for path in sorted(args.folder.rglob("*")) if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise SystemExit(f"no recordings in {args.folder}")
    paths = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, args.clips).round().astype(int))]
    pipe = RiffusionPipeline.from_pretrained(args.checkpoint)
    rows = []
    for path in paths:
        mel = mel_amplitudes(torch.from_numpy(middle(path)), PARAMS)
        loudest = float(mel.max())
        if mel.shape[-1] < CLIP_COLUMNS or loudest == 0:
            print(f"{path.name}: too short or silent", file=sys.stderr)
            continue
        pixels = amplitudes_to_pixels(mel, loudest, PARAMS)
        latents = encode_pixels(pixels, pipe.checkpoint, pipe.grid)
        trip = decode_latents(latents, pipe.checkpoint, pipe.grid, CLIP_COLUMNS)
        error = (trip.float() - pixels.float()).square().mean().item()
        alone, both = (convergence(reconstruct(pixels_to_amplitudes(p, loudest, PARAMS), PARAMS), mel)
                       for p in (pixels, trip))
        rows.append((path.stem, 10 * np.log10(255**2 / error), alone, both))
        print(f"{path.name}: {rows[-1][1]:.1f} dB, {alone:.3f}, {both:.3f}", file=sys.stderr)
    name, revision = pipe.checkpoint.name, pipe.checkpoint.revision[:12]
    psnr, alone, both = (np.median([row[i] for row in rows]) for i in (1, 2, 3))
    lines = ["# Round trip of recordings", "",
             f"`python benchmarks/roundtrip.py FOLDER`: checkpoint `{name}`, revision "
             f"`{revision}`; one clip of 5.11 s out of the middle of each of {len(rows)} recordings.", "",
             "| recording | image PSNR, dB | convergence, codec alone | with the autoencoder |", "|---|---|---|---|",
             *(f"| {stem} | {a:.1f} | {b:.3f} | {c:.3f} |" for stem, a, b, c in rows),
             f"| **median** | {psnr:.1f} | {alone:.3f} | {both:.3f} |"]
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
