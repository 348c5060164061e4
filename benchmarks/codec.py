"""Spectrogram to sound: this library beside torchaudio at the settings of the original, on the same images, in one run.

The images are the seed images, or where there are none music-like signals made here, and any ``--audio FILE...``.
Mel spectral convergence is ``||mel(decoded) - mel|| / ||mel||``, smaller is better, at the format's own resolution.

``python benchmarks/codec.py`` prints the table and writes benchmarks/results/codec.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torchaudio
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from riffusion_space.audio import Waveform, read_audio
from riffusion_space.codec import encode, pixels_to_amplitudes
from riffusion_space.mel import mel_amplitudes
from riffusion_space.phase import reconstruct
from riffusion_space.spectrogram import CLIP_COLUMNS, SpectrogramParams, from_exif

RESULTS = Path(__file__).resolve().parent / "results" / "codec.md"
SEED_IMAGES = Path(__file__).resolve().parent.parent / "assets" / "seed_images"
PARAMS = SpectrogramParams()
CLIP_SAMPLES = PARAMS.samples_for_columns(CLIP_COLUMNS)


def plucked(rng: np.random.Generator) -> np.ndarray:
    """Decaying harmonic notes, eight a second."""
    sound, step = np.zeros(CLIP_SAMPLES), PARAMS.sample_rate // 8
    for start in range(0, CLIP_SAMPLES, step):
        age = np.arange(CLIP_SAMPLES - start) / PARAMS.sample_rate
        pitch = 110 * 2 ** (rng.choice([0, 3, 5, 7, 10, 12, 15, 17]) / 12)
        for harmonic in range(1, 13):
            sound[start:] += np.sin(2 * np.pi * pitch * harmonic * age) * np.exp(-(3 + harmonic) * age) / harmonic
    return sound


def drums(rng: np.random.Generator) -> np.ndarray:
    """A dense loop: kick, snare and hi-hat of swept tones and noise."""
    sound, step = np.zeros(CLIP_SAMPLES), PARAMS.sample_rate // 8
    for beat, start in enumerate(range(0, CLIP_SAMPLES, step)):
        age = np.arange(CLIP_SAMPLES - start) / PARAMS.sample_rate
        noise = rng.standard_normal(len(age))
        sound[start:] += 0.1 * np.diff(noise, append=0) * np.exp(-60 * age)
        if beat % 4 == 0:
            sound[start:] += np.sin(2 * np.pi * (50 * age - 2 * np.exp(-30 * age))) * np.exp(-12 * age)
        if beat % 8 == 4:
            sound[start:] += 0.4 * noise * np.exp(-18 * age)
    return sound


def images(files: list[str]) -> Iterator[tuple[str, Image.Image]]:
    """Names and mono images of one clip's length."""
    seeds = sorted(SEED_IMAGES.glob("*.png"))
    for path in seeds:
        yield path.stem, Image.open(path)
    if not seeds:
        for make in (plucked, drums):
            sound = make(np.random.default_rng(0))
            yield make.__name__, encode(Waveform(sound[None] / np.abs(sound).max(), PARAMS.sample_rate))
    for file in files:
        wave = read_audio(file).to_mono().resampled(PARAMS.sample_rate)
        start = max(0, wave.num_samples - CLIP_SAMPLES) // 2
        yield Path(file).stem, encode(wave.sliced(start, min(start + CLIP_SAMPLES, wave.num_samples)))


def mel_of(image: Image.Image) -> torch.Tensor:
    params, max_value = from_exif(image.getexif())
    assert params == PARAMS, "the settings of the original are those of the default parameters"
    return pixels_to_amplitudes(
        torch.from_numpy(np.asarray(image.convert("RGB"))[..., 0].copy())[None], max_value, params
    )


def original() -> Callable[[torch.Tensor], torch.Tensor]:
    """The decoder of the original: mel to linear on the padded grid, and Griffin-Lim there."""
    inverse = torchaudio.transforms.InverseMelScale(
        n_stft=PARAMS.n_fft // 2 + 1,
        n_mels=PARAMS.num_frequencies,
        sample_rate=PARAMS.sample_rate,
        f_min=PARAMS.min_frequency,
        f_max=PARAMS.max_frequency,
        norm=None,
        mel_scale="htk",
    )
    griffin_lim = torchaudio.transforms.GriffinLim(
        n_fft=PARAMS.n_fft,
        n_iter=32,
        win_length=PARAMS.win_length,
        hop_length=PARAMS.hop_length,
        power=1.0,
        momentum=0.99,
    )
    return lambda mel: griffin_lim(inverse(mel))


def timed(decoder: Callable[[torch.Tensor], torch.Tensor], mel: torch.Tensor) -> tuple[float, float]:
    """Seconds, and mel spectral convergence."""
    torch.manual_seed(0)
    begin = time.perf_counter()
    samples = decoder(mel)
    seconds = time.perf_counter() - begin
    return seconds, ((mel_amplitudes(samples, PARAMS) - mel).norm() / mel.norm()).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--audio", nargs="+", default=[], metavar="FILE", help="also the middle of these recordings")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement (3)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (2)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    decoders = {"torchaudio": original(), "this library": lambda mel: reconstruct(mel, PARAMS)}
    decoders["this library"](torch.ones(1, PARAMS.num_frequencies, 2))  # makes what is made once
    rows = []
    for name, image in images(arguments.audio):
        mel = mel_of(image)
        # The decoders take turns, so that whatever else the machine does falls on both.
        runs = [[timed(decoder, mel) for decoder in decoders.values()] for _ in range(arguments.repeats)]
        (slow, slow_error), (fast, fast_error) = (
            (statistics.median(seconds for seconds, _ in results), results[0][1]) for results in zip(*runs)
        )
        rows.append((name, slow, fast, slow / fast, slow_error, fast_error))
        print(f"{name}: {slow:.2f} s and {fast:.2f} s, convergence {slow_error:.4f} and {fast_error:.4f}", flush=True)
    rows.append(("**median**", *(statistics.median(column) for column in list(zip(*rows))[1:])))

    lines = [
        "# Spectrogram to sound",
        "",
        f"`python benchmarks/codec.py`: torchaudio {torchaudio.__version__.split('+')[0]}'s InverseMelScale and "
        f"GriffinLim at the original settings (17,640-point frames, 32 iterations, momentum 0.99) beside this library; "
        f"clips of {PARAMS.seconds_for_columns(CLIP_COLUMNS):.2f} s, {arguments.threads} CPU threads, medians of "
        f"{arguments.repeats} runs that take turns. Convergence is the mel spectral one: smaller is better.",
        "",
        "| image | torchaudio, s | this library, s | times as fast | its convergence | this library's |",
        "|---|---|---|---|---|---|",
        *(f"| {name} | {a:.2f} | {b:.2f} | {ratio:.0f} | {c:.4f} | {d:.4f} |" for name, a, b, ratio, c, d in rows),
    ]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n")
    print("\n".join(lines[4:]))


if __name__ == "__main__":
    main()
