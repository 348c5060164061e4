"""Does a checkpoint play what it is asked for? A judge that never heard its training clips listens.

The judge (judge.py) names, among the sounds that the checkpoint was taught, what it hears in (1) real held-out clips,
(2) the same after the autoencoder's round trip and (3) clips that the checkpoint makes from the bare name of each
class and (4) from the page's example prompts, analysed from the sound that a user would hear. Beside that:

- tempo: librosa's estimate for clips of prompts that name one, right when within 8 % of it, its double or its half;
- Fréchet distance (Heusel et al. 2017) between Gaussians fitted to the judge's embeddings of generated and of real
  clips, as many of each, beside the distance between two such sets of real clips;
- diversity: the mean distance of embeddings over seeds of one prompt, as a share of that over real clips of one class.

``python benchmarks/adherence.py`` prints the tables and writes benchmarks/results/adherence.md; for another
checkpoint than the embedded one, its name is part of the file's. Needs sound fonts. Under 15 minutes on two cores.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import judge as judges
import librosa
import numpy as np
import torch
from judge import CLASSES, Judge
from scipy.linalg import sqrtm

from riffusion_space.audio import Waveform
from riffusion_space.codec import encode
from riffusion_space.latents import decode_latents, encode_pixels
from riffusion_space.pipeline import RiffusionPipeline
from riffusion_space.training.compose import compose_genre
from riffusion_space.training.corpus import CLIP_SAMPLES, PARAMS
from riffusion_space.training.render import renderer
from riffusion_space.training.sounds import GENRES, INSTRUMENTS
from riffusion_space.ui.text2audio import EXAMPLES

RESULTS = Path(__file__).resolve().parent / "results"
TEMPO_TOLERANCE = 0.08
TEMPO_PROMPTS = 24


def known_classes(pipe: RiffusionPipeline) -> tuple[list[int], list[int]]:
    """The classes that the checkpoint was taught: instruments and genres."""
    words = pipe.checkpoint.vocabulary
    index = {(type(sound), sound.name): i for i, sound in enumerate(CLASSES)}
    instruments = [index[type(INSTRUMENTS[0]), name] for name in words.instruments]
    genres = [index[type(GENRES[0]), name] for name in words.genres]
    if not instruments or not genres:
        raise SystemExit("the checkpoint's riffusion.json does not say which instruments and genres it plays")
    return instruments, genres


def pixels_of(wave: Waveform) -> np.ndarray:
    return np.asarray(encode(wave, PARAMS))[:, :, 0]


def right(judge: Judge, pixels: np.ndarray, labels: np.ndarray, kinds: tuple[list[int], ...]) -> np.ndarray:
    """For each clip, whether the judge names its class first among the known classes of its kind; bool (n,)."""
    result = np.zeros(len(labels), bool)
    for classes in kinds:
        chosen = np.isin(labels, classes)
        result[chosen] = judge.name(pixels[chosen], classes) == labels[chosen]
    return result


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Between Gaussians fitted to two sets of embeddings (n, d), n > d."""
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    mean = np.square(a.mean(0) - b.mean(0)).sum()
    return float(mean + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real))


def spread(embeddings: np.ndarray, labels: np.ndarray) -> float:
    """The mean distance of two embeddings of one class."""
    return float(np.mean([np.linalg.norm(a - b) for label in np.unique(labels)
                          for a, b in itertools.combinations(embeddings[labels == label], 2)]))


def tempo_is(wave: Waveform, bpm: float) -> bool:
    """Whether librosa finds a tempo, or its double or half."""
    found = float(librosa.feature.tempo(y=wave.to_mono().samples[0], sr=wave.sample_rate, start_bpm=bpm)[0])
    return any(abs(found / (bpm * factor) - 1) <= TEMPO_TOLERANCE for factor in (0.5, 1, 2))


def tempo_prompts(genres: list[int]) -> list[tuple[int, int]]:
    """A genre with drums and a tempo of its range, in BPM."""
    rng = random.Random("tempo")
    drummed = [i for i in genres if CLASSES[i].groove]
    return [(i, rng.randint(*CLASSES[i].tempo)) for i in itertools.islice(itertools.cycle(drummed), TEMPO_PROMPTS)]


def tempo_of_real(genres: list[int]) -> float:
    """How often librosa finds the tempo of real clips, each told what to look for as the generated ones are."""
    hits = []
    for number, (index, _) in enumerate(tempo_prompts(genres)):
        piece = compose_genre(random.Random(f"tempo {number}"), CLASSES[index], CLIP_SAMPLES / PARAMS.sample_rate)
        hits.append(tempo_is(Waveform(renderer().render(piece, CLIP_SAMPLES, number), PARAMS.sample_rate), piece.bpm))
    return float(np.mean(hits))


def generated_clips(pipe: RiffusionPipeline, classes: list[int], seeds: range,
                    steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Spectrograms of what the checkpoint makes of each class's bare name, from its sound."""
    pixels, labels = [], []
    for index in classes:
        for seed in seeds:
            pixels.append(pixels_of(pipe.text2audio(CLASSES[index].name, seed=seed, steps=steps).audio))
            labels.append(index)
        print(f"generated {CLASSES[index].name}", file=sys.stderr)
    return np.stack(pixels), np.array(labels)


def named(prompt: str) -> list[int]:
    """The classes that a prompt names; of "steel drums" not the drums."""
    words = {word: index for index, sound in enumerate(CLASSES) for word in sound.synonyms
             if re.search(rf"\b{re.escape(word)}\b", prompt)}
    return sorted({index for word, index in words.items() if not any(word in other != word for other in words)})


def heard_in_examples(judge: Judge, pipe: RiffusionPipeline, known: list[int], seeds: range,
                      steps: int) -> list[str]:
    """Rows of a table: a prompt, in how many of the clips the judge hears what it names, and what it hears."""
    rows = []
    for prompt in EXAMPLES:
        clips = [pixels_of(pipe.text2audio(prompt, seed=seed, steps=steps).audio) for seed in seeds]
        heard = judge.name(np.stack(clips), known).tolist()
        hits = sum(index in named(prompt) for index in heard)
        rows.append(f"| {prompt} | {hits} of {len(seeds)} | {', '.join(CLASSES[i].name for i in heard)} |")
        print(f"generated {prompt}", file=sys.stderr)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how well a checkpoint follows its prompts.")
    parser.add_argument("--checkpoint", default="embedded")
    parser.add_argument("--seeds", type=int, default=2, help="clips generated a class; at least 2")
    parser.add_argument("--steps", type=int, help="denoising steps, if not those recommended")
    own = ("guidance", "guided", "beat")
    parser.add_argument("--guidance", type=float, help="instead of that recommended")
    parser.add_argument("--guided", type=float, help="the part of the steps that is guided, likewise")
    parser.add_argument("--beat", type=float, help="the share of the noise that repeats, likewise")
    parser.add_argument("--undistilled", action="store_true", help="leave out the LoRA for few steps")
    args = parser.parse_args()
    judge = judges.load()
    pipe = RiffusionPipeline.from_pretrained(args.checkpoint, few_steps=not args.undistilled)
    recommended = pipe.checkpoint.recommended
    asked = {setting: value for setting in own if (value := getattr(args, setting)) is not None}
    recommended = replace(recommended, **asked)
    pipe = RiffusionPipeline(replace(pipe.checkpoint, recommended=recommended))
    steps = args.steps or recommended.steps
    instruments, genres = known_classes(pipe)
    kinds, known = (instruments, genres), [*instruments, *genres]

    real, truth = judges.real_clips(known, judges.TEST_SEEDS)
    turn = np.arange(len(truth)) % len(judges.TEST_SEEDS)
    few = turn < args.seeds  # as many of each class as are generated
    trip = np.concatenate([decode_latents(encode_pixels(part, pipe.checkpoint, pipe.grid), pipe.checkpoint, pipe.grid,
                                          512).numpy() for part in torch.from_numpy(real[few]).split(8)])
    print("real clips rendered, encoded and decoded", file=sys.stderr)
    made, made_of = generated_clips(pipe, known, range(args.seeds), steps)
    tempos = [tempo_is(pipe.text2audio(f"{CLASSES[index].name}, {bpm} bpm", seed=number, steps=steps).audio, bpm)
              for number, (index, bpm) in enumerate(tempo_prompts(genres))]

    hits = {"real held-out clips": (right(judge, real, truth, kinds), truth),
            "the same through the autoencoder": (right(judge, trip, truth[few], kinds), truth[few]),
            "generated clips": (right(judge, made, made_of, kinds), made_of)}
    tempo = {"real held-out clips": f"{tempo_of_real(genres):.0%}", "generated clips": f"{np.mean(tempos):.0%}"}
    # As many real clips of each class as were generated, twice.
    heard = judge.embed(real)
    one, other = heard[few], heard[(turn >= args.seeds) & (turn < 2 * args.seeds)]
    mine = judge.embed(made)
    apart, among = frechet_distance(mine, one), frechet_distance(one, other)

    lines = [
        f"Checkpoint `{pipe.checkpoint.name}`, revision `{pipe.checkpoint.revision[:12]}`, {steps} steps, "
        f"guidance {recommended.guidance:g} in {recommended.guided:.0%} of them, {recommended.scheduler}, beat "
        f"{recommended.beat:g}; "
        f"{args.seeds} seeds a class.", "",
        f"| clips | instrument top-1 ({len(instruments)} classes) | genre top-1 ({len(genres)} classes) | tempo |",
        "|---|---|---|---|", f"| chance | {1 / len(instruments):.1%} | {1 / len(genres):.1%} | |",
    ]
    for name, (found, labels) in hits.items():
        lines.append(f"| {name} | {found[np.isin(labels, instruments)].mean():.1%} "
                     f"| {found[np.isin(labels, genres)].mean():.1%} | {tempo.get(name, '')} |")
    lines += ["", f"Fréchet distance to real clips: {apart:.1f}; between two sets of real clips: {among:.1f}; "
              f"ratio {apart / among:.1f}.",
              f"Diversity over seeds: {spread(mine, made_of) / spread(heard, truth):.0%} of that of real clips.", ""]
    by_class = defaultdict(list)
    found, labels = hits["generated clips"]
    for label in np.unique(labels):
        by_class[int(found[labels == label].sum())].append(CLASSES[label].name)
    lines += ["Generated clips that the judge recognised, by class:", ""]
    for count in sorted(by_class, reverse=True):
        lines.append(f"- {count} of {args.seeds}: {', '.join(by_class[count])}")
    lines += ["", "What it hears, out of all known classes, in clips made from the page's examples:", "",
              "| prompt | heard | as |", "|---|---|---|",
              *heard_in_examples(judge, pipe, known, range(args.seeds), steps)]
    RESULTS.mkdir(exist_ok=True)
    name = "adherence" if args.checkpoint == "embedded" else f"adherence-{pipe.checkpoint.name.replace('/', '-')}"
    name += "-undistilled" if args.undistilled else ""
    name += f"-{steps}-steps" if args.steps else ""
    name += "".join(f"-{setting}-{value:g}" for setting, value in asked.items())
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
