"""Does what is long hang together? Joins against what is inside, beats against a clock, levels, beside clips in a row.

``python benchmarks/continuity.py`` makes long pieces, loops, a live stream, a sound that goes on and a restyled sound,
and the same as clips in a row: separate clips of 5.11 s, each normalised to its peak, one after another, as the web
page of 2022 played them. What is made is kept in data/continuity, so that the work can be done in parts (``--parts``,
``--prompts``); whatever is there is measured, and the table goes to benchmarks/results/continuity.md.

- click: the largest second difference of samples within 1 ms of a border, over that inside, on average.
- spectrum: the distance in dB of the mel spectra of 0.2 s before and after a border, over that inside, on average.
- level: by how many dB 1 s after a border differs from 1 s before it, and that inside.
- tempo: asked for, of live that of the loop under it, which is of whole columns; and of the line through the beats of
  librosa's tracker.
- drift: how far the beat wanders over the whole from a grid of that tempo. Librosa's onset strength is folded to one
  bar in every span of 10 s; each is as late as makes it most like the others, and drift is the range of that, in ms.
  In brackets how much they are alike then, 1 being the same: below a half there is no beat that could drift.

A border is where a window, a chunk or a clip begins or ends; inside is every tenth of a second that is far from one.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from riffusion_space import streaming
from riffusion_space.audio import Waveform, read_audio, write_audio
from riffusion_space.codec import decode
from riffusion_space.denoise import window_starts
from riffusion_space.images import read_image
from riffusion_space.mel import mel_amplitudes
from riffusion_space.pipeline import RiffusionPipeline
from riffusion_space.regions import Region, stretches
from riffusion_space.seed_images import built_in
from riffusion_space.spectrogram import SpectrogramParams
from riffusion_space.tempo import BEATS_PER_BAR, beat_line, beats_of

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results/continuity.md"
MADE = ROOT / "data/continuity"
PARAMS = SpectrogramParams()
RATE = PARAMS.sample_rate
PROMPTS = (("techno", 130), ("rock", 120), ("house", 124), ("funk", 104), ("hip hop", 90))
CLIP_S = 5.11
LONG_S = 60.0
SPAN_S = 10.0  # of beats that have one phase
BIN_S = 0.005  # of a bar that onsets are folded to
TRACKED, HOP = 22_050, 64  # the rate at which onsets are looked for, and the samples from one to the next
FAR_S = 0.25  # from a border is inside

Maker = Callable[[], tuple[Waveform, list[float]]]  # the sound, and its borders in seconds


def in_a_row(clips: list[Waveform]) -> tuple[Waveform, list[float]]:
    """Clips as the original played them."""
    samples = np.concatenate([clip.normalized().samples for clip in clips], 1)
    return Waveform(samples, RATE), list(np.cumsum([clip.duration_s for clip in clips])[:-1])


def borders(pipe: RiffusionPipeline, width: int, stretch: float = 1.0, circular: bool = False) -> list[float]:
    """Seconds at which the windows of a canvas begin and end."""
    starts = window_starts(width, pipe.grid.window, circular)
    ends = [start + pipe.grid.window for start in starts]
    column_s = pipe.grid.scale * PARAMS.step_s / stretch
    inside = {at % width if circular else at for at in (*starts, *ends)}
    return sorted(at * column_s for at in inside if circular or 0 < at < width)


def makers(pipe: RiffusionPipeline, prompts: int, steps: int | None) -> Iterator[tuple[str, str, float, bool, Maker]]:
    """What is made: its part, its name, its tempo, whether it is among the first ``prompts``, and how."""
    sampling: dict[str, Any] = {"seed": 7, "steps": steps}
    count = int(LONG_S // CLIP_S)

    def long(prompt: str, bpm: float) -> tuple[Waveform, list[float]]:
        samples = round(LONG_S * RATE)
        period, width = pipe._period(samples, bpm, loop=False)
        return (pipe.text2audio(prompt, bpm=bpm, duration_s=LONG_S, **sampling).audio,
                borders(pipe, width, period.stretch))

    def row(prompt: str, bpm: float) -> tuple[Waveform, list[float]]:
        return in_a_row([pipe.text2audio(prompt, bpm=bpm, seed=7 + number, steps=steps).audio
                         for number in range(count)])

    def loop(prompt: str, bpm: float) -> tuple[Waveform, list[float]]:
        clip = pipe.text2audio(prompt, bpm=bpm, bars=2, loop=True, **sampling).audio
        return Waveform(np.tile(clip.samples, 8), RATE), [clip.duration_s * number for number in range(1, 8)]

    def live(prompt: str, bpm: float) -> tuple[Waveform, list[float]]:
        stream = pipe.stream(prompt, seed=7, bpm=bpm, steps=steps, adapt=False)
        chunks = [next(stream).audio for _ in range(round(LONG_S / 2.56))]
        return (Waveform(np.concatenate([chunk.samples for chunk in chunks], 1), RATE),
                list(np.cumsum([chunk.duration_s for chunk in chunks])[:-1]))

    def extend(prompt: str) -> tuple[Waveform, list[float]]:
        wave = drums()
        longer = pipe.extend(wave, prompt, seconds=LONG_S - wave.duration_s, **sampling).audio
        window = pipe.grid.window * pipe.grid.scale
        (stretch,) = stretches((Region(wave.duration_s, LONG_S),), longer.num_samples, PARAMS, window, pipe.grid.scale)
        found = [stretch.start / RATE + at for at in borders(pipe, stretch.columns // pipe.grid.scale)]
        return longer, sorted([wave.duration_s, *(at for at in found if at > wave.duration_s)])

    def restyled(prompt: str) -> tuple[Waveform, list[float]]:
        made = pipe.audio2audio(drums(8), prompt, **sampling).audio
        return made, borders(pipe, pipe.grid.width(made.num_samples // PARAMS.hop_length + 2))

    def restyled_row(prompt: str) -> tuple[Waveform, list[float]]:
        wave, length = drums(8), round(CLIP_S * RATE)
        return in_a_row([pipe.audio2audio(wave.sliced(start, start + length), prompt, **sampling).audio
                         for start in range(0, wave.num_samples - length + 1, length)])

    for number, (prompt, bpm) in enumerate(PROMPTS):
        named = f"{prompt}, {bpm} bpm"
        of_live = bpm / streaming._period(pipe, bpm).stretch  # its loop is of whole columns
        for part, name, tempo, make in (("long", "long piece", bpm, long), ("long", "clips in a row", bpm, row),
                                        ("loops", "loop of 2 bars, 8 times", bpm, loop),
                                        ("live", "live", of_live, live)):
            yield part, f"{name}: {named}", tempo, number < prompts, partial(make, prompt, bpm)
    seed = built_in()[DRUMS]
    for part, name, make in (("extend", "extend", extend), ("audio2audio", "audio to audio", restyled),
                             ("audio2audio", "audio to audio, clips in a row", restyled_row)):
        yield part, f"{name}: {seed.name} and techno", seed.bpm, True, partial(make, "techno")


DRUMS = next(index for index, seed in enumerate(built_in()) if seed.name == "four-on-the-floor")


def drums(times: int = 1) -> Waveform:
    """A built-in loop of whole bars, so many times."""
    image = read_image(built_in()[DRUMS].path)
    wave = decode(image).normalized(-3)
    bar = 4 * 60 / built_in()[DRUMS].bpm
    length = round(int(wave.duration_s / bar) * bar * RATE)
    return Waveform(np.tile(wave.samples[:, :length], times), RATE)


# Measuring ----------------------------------------------------------------------------------------------------------


def ratio(at_borders: np.ndarray, inside: np.ndarray) -> str:
    """Mean over mean, with its standard error."""
    value = at_borders.mean() / inside.mean()
    error = value * np.hypot(at_borders.std() / at_borders.mean() / len(at_borders) ** 0.5,
                             inside.std() / inside.mean() / len(inside) ** 0.5)
    return f"{value:.2f} ± {error:.2f}"


def measured(wave: Waveform, at: list[float], bpm: float) -> dict[str, str]:
    """The columns of the table for a sound whose borders are at so many seconds."""
    mono = wave.to_mono().samples[0]
    places = np.arange(1.0, wave.duration_s - 1.0, 0.1)
    joins = np.array([time for time in at if 1.0 <= time <= wave.duration_s - 1.0])
    rest = places[np.abs(places[:, None] - joins).min(1) > FAR_S] if len(joins) else places
    mel = 20 * torch.log10(mel_amplitudes(torch.from_numpy(mono[None].copy()), PARAMS)[0] + 1e-2).numpy()
    bend = np.abs(np.diff(mono, 2, prepend=0, append=0))

    def click(time: float) -> float:
        middle = round(time * RATE)
        return float(bend[middle - 44 : middle + 45].max())

    def spectrum(time: float) -> float:
        column = round(time / PARAMS.step_s)
        before, after = mel[:, column - 20 : column].mean(1), mel[:, column + 1 : column + 21].mean(1)
        return float(np.sqrt(np.mean((after - before) ** 2)))

    def level(time: float) -> float:
        middle = round(time * RATE)
        sides = mono[middle - RATE : middle], mono[middle : middle + RATE]
        before, after = (np.sqrt((side**2).mean()) for side in sides)
        return float(abs(20 * np.log10(max(after, 1e-6) / max(before, 1e-6))))

    found = {}
    for name, measure in (("click", click), ("spectrum", spectrum)):
        found[name] = ratio(*(np.array([measure(time) for time in times]) for times in (joins, rest)))
    levels = [np.mean([level(time) for time in times]) for times in (joins, rest)]
    found["level"] = "{:.1f} / {:.1f}".format(*levels)
    tempo, (drift, alike) = tempo_of(mono, bpm), held_beat(mono, bpm)
    found["tempo"] = f"{bpm:g}, {tempo:.2f} ({tempo / bpm - 1:+.1%})" if tempo else f"{bpm:g}, none"
    found["drift"] = f"{drift:.0f} ({alike:.2f})"
    return found


def tempo_of(mono: np.ndarray, bpm: float) -> float | None:
    """The tempo that the tracker finds, counted in halves or doubles as is nearest to ``bpm``."""
    found = beats_of(Waveform(mono[None], RATE).resampled(TRACKED).samples[0], TRACKED, bpm)
    if len(found) < 8:
        return None
    tempo = 60 / beat_line(found)[0]
    return tempo / 2.0 ** round(np.log2(tempo / bpm))


def held_beat(mono: np.ndarray, bpm: float) -> tuple[float, float]:
    """How far the beat wanders against ``bpm`` in ms, and how much spans are alike, -1 to 1."""
    small = Waveform(mono[None], RATE).resampled(TRACKED).samples[0]
    onsets = librosa.onset.onset_strength(y=small, sr=TRACKED, hop_length=HOP, aggregate=np.median)
    times = np.arange(len(onsets)) * HOP / TRACKED
    bar = BEATS_PER_BAR * 60 / bpm
    bins, half = round(bar / BIN_S), round(60 / bpm / BIN_S / 2)
    spans = []
    for start in np.arange(0, times[-1] - SPAN_S / 2, SPAN_S):
        inside = (times >= start) & (times < start + SPAN_S)
        place = (times[inside] % bar / bar * bins).astype(int) % bins
        folded = np.bincount(place, onsets[inside], bins) / np.maximum(np.bincount(place, minlength=bins), 1)
        smooth = sum(np.roll(folded, by) for by in range(-3, 4))
        spans.append(smooth - smooth.mean())
    late, alike = [], []
    for index, span in enumerate(spans):
        rest = sum(other for number, other in enumerate(spans) if number != index)
        fits = [float(np.dot(np.roll(rest, by), span)) for by in range(-half, half + 1)]
        late.append((int(np.argmax(fits)) - half) * BIN_S * 1000)
        alike.append(max(fits) / np.linalg.norm(rest) / np.linalg.norm(span))
    return max(late) - min(late), float(np.mean(alike))


def write(rows: list[str], pipe: RiffusionPipeline, steps: int) -> None:
    command = " ".join(["python benchmarks/continuity.py", *sys.argv[1:]])
    lines = [
        "# How long pieces hang together", "",
        f"`{command}`: checkpoint `{pipe.checkpoint.name}`, revision "
        f"`{pipe.checkpoint.revision[:12]}`, {steps} steps, seed 7, on {pipe.checkpoint.device} "
        f"({platform.machine()}, {torch.get_num_threads()} threads). Pieces of {LONG_S:g} s; what each column is, the "
        "script says. Click and spectrum: at borders over inside, where 1 is no difference. Level: dB at borders / "
        "inside. Tempo: the one asked for, and librosa's, which counts some pieces by 4/3. Drift: how far the "
        "beat wanders from a grid of that tempo, and in brackets how alike the spans are.", "",
        "| what | click | spectrum | level, dB | tempo asked, found | drift, ms |", "|---|---|---|---|---|---|", *rows]
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how long pieces hang together.")
    parser.add_argument("--parts", nargs="*", default=["long", "loops", "live", "extend", "audio2audio"])
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), help="how many of them")
    parser.add_argument("--steps", type=int, help="of denoising; by default what suits the checkpoint")
    parser.add_argument("--checkpoint", default="embedded")
    args = parser.parse_args()
    MADE.mkdir(parents=True, exist_ok=True)
    pipe = RiffusionPipeline.from_pretrained(args.checkpoint)
    steps = args.steps or pipe.checkpoint.recommended.steps
    # Sounds that are there are not made again, unless another model, or the same one in another way, would make others.
    way = f"{pipe.checkpoint.revision[:12]}-{steps}-{pipe.checkpoint.recommended.guided:g}"
    rows = []
    for part, name, bpm, among, make in makers(pipe, args.prompts, args.steps):
        path = MADE / f"{''.join(char if char.isalnum() else '-' for char in name)}-{way}.flac"
        notes = path.with_suffix(".json")
        if part in args.parts and among and not notes.exists():
            print(name, file=sys.stderr, flush=True)
            wave, at = make()
            write_audio(wave, path)
            notes.write_text(json.dumps(at))
        if notes.exists():
            found = measured(read_audio(path), json.loads(notes.read_text()), bpm)
            rows.append(f"| {name} | {' | '.join(found.values())} |")
            print(rows[-1], flush=True)
            write(rows, pipe, steps)  # each time: what is interrupted is not lost


if __name__ == "__main__":
    main()
