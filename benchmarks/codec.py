"""Spectrogram to sound: this library beside torchaudio at the settings of the original, on the same images, in one run.

The images are the seed images, or where there are none music-like signals made here, images that the embedded
checkpoint paints (``--generated N``), and recordings (``--audio FILE_OR_FOLDER...``). Mel spectral convergence is
``||mel(decoded) - mel|| / ||mel||``, log-spectral distance the root mean square difference in dB over the bands of a
column, averaged over columns, of what is within 60 dB of the loudest; both at the format's own resolution, and smaller
is better.

``python benchmarks/codec.py`` prints the table and writes benchmarks/results/codec.md.
"""

from __future__ import annotations

import argparse
import itertools
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


def generated(count: int) -> Iterator[tuple[str, Image.Image]]:
    """What the embedded checkpoint paints."""
    from riffusion_space import RiffusionPipeline

    pipe = RiffusionPipeline.from_pretrained("embedded")
    for seed, prompt in zip(range(count), ("church bells", "funk", "slow sad violin", "techno, 130 bpm", "jazz piano")):
        yield f"generated: {prompt}", pipe.text2audio(prompt, seed=seed).image


def recordings(paths: list[str]) -> Iterator[Path]:
    """Files, and those of folders."""
    for path in map(Path, paths):
        found = sorted(each for each in path.rglob("*") if each.suffix.lower() in (".ogg", ".wav", ".flac", ".mp3"))
        yield from found if path.is_dir() else [path]


def images(files: list[Path]) -> Iterator[tuple[str, Image.Image]]:
    """Names and mono images of one clip's length."""
    seeds = sorted(SEED_IMAGES.glob("*.png"))
    for path in seeds:
        yield path.stem, Image.open(path)
    if not seeds:
        for make in (plucked, drums):
            sound = make(np.random.default_rng(0))
            yield make.__name__, encode(Waveform(sound[None] / np.abs(sound).max(), PARAMS.sample_rate))
    for file in files:
        wave = read_audio(file, max_seconds=3600).to_mono().resampled(PARAMS.sample_rate)
        start = max(0, wave.num_samples - CLIP_SAMPLES) // 2
        yield file.stem, encode(wave.sliced(start, min(start + CLIP_SAMPLES, wave.num_samples)))


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


def log_distance(decoded: torch.Tensor, mel: torch.Tensor) -> float:
    """Log-spectral distance in dB of mel amplitudes (1, bands, columns)."""
    floor = 1e-3 * mel.max()
    return (20 * torch.log10((decoded + floor) / (mel + floor))).square().mean(1).sqrt().mean().item()


def timed(decoder: Callable[[torch.Tensor], torch.Tensor], mel: torch.Tensor) -> tuple[float, float, float]:
    """Seconds, mel spectral convergence and log-spectral distance."""
    torch.manual_seed(0)
    begin = time.perf_counter()
    samples = decoder(mel)
    seconds = time.perf_counter() - begin
    decoded = mel_amplitudes(samples, PARAMS)
    return seconds, ((decoded - mel).norm() / mel.norm()).item(), log_distance(decoded, mel)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--audio", nargs="+", default=[], metavar="FILE",
                        help="also the middle of these recordings; of folders, too")
    parser.add_argument("--generated", type=int, default=0, metavar="N", help="also so many generated images, up to 5")
    parser.add_argument("--most", type=int, default=12, metavar="N", help="recordings, evenly out of those found (12)")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement (3)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (2)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    decoders = {"torchaudio": original(), "this library": lambda mel: reconstruct(mel, PARAMS)}
    decoders["this library"](torch.ones(1, PARAMS.num_frequencies, 2))  # makes what is made once
    rows = []
    found = list(recordings(arguments.audio))
    chosen = found[:: max(1, len(found) // arguments.most)][: arguments.most]
    for name, image in itertools.chain(images(chosen), generated(arguments.generated)):
        mel = mel_of(image)
        # The decoders take turns, so that whatever else the machine does falls on both.
        runs = [[timed(decoder, mel) for decoder in decoders.values()] for _ in range(arguments.repeats)]
        (slow, *slow_errors), (fast, *fast_errors) = (
            (statistics.median(run[0] for run in results), *results[0][1:]) for results in zip(*runs)
        )
        rows.append((name, slow, fast, slow / fast, *itertools.chain(*zip(slow_errors, fast_errors))))
        print(f"{name}: {slow:.2f} s and {fast:.2f} s, {slow_errors} and {fast_errors}", flush=True)
    rows += [("**median**", *(statistics.median(column) for column in list(zip(*rows))[1:])),
             ("**worst**", *("" for _ in range(2)), min(row[3] for row in rows),
              *(max(column) for column in list(zip(*rows))[4:]))]

    asked = "".join(f" {option} {value}" for option, value in (
        ("--audio", "FOLDER" if found else ""), ("--generated", arguments.generated or "")) if value)
    lines = [
        "# Spectrogram to sound",
        "",
        f"`python benchmarks/codec.py{asked}`: torchaudio {torchaudio.__version__.split('+')[0]}'s InverseMelScale and "
        f"GriffinLim at the original settings (17,640-point frames, 32 iterations, momentum 0.99) beside this library; "
        f"clips of {PARAMS.seconds_for_columns(CLIP_COLUMNS):.2f} s, {arguments.threads} CPU threads, medians of "
        f"{arguments.repeats} runs that take turns. Convergence is the mel spectral one, distance the log-spectral one "
        "in dB within 60 dB of the loudest: of both, smaller is better.",
        "",
        "| image | torchaudio, s | this library, s | times as fast | its convergence | ours | its distance | ours |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *("| " + " | ".join([name, *(figure if figure == "" else f"{figure:{form}}" for figure, form in zip(
            figures, (".2f", ".2f", ".0f", ".4f", ".4f", ".2f", ".2f")))]) + " |" for name, *figures in rows),
    ]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n")
    print("\n".join(lines[4:]))


if __name__ == "__main__":
    main()
