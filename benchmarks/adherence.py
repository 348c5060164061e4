"""Does the embedded checkpoint play what it is asked for? A judge that never heard its training clips listens.

The judge is a small convolutional classifier of 40 instruments and 14 genres, trained here on clips that the training
corpus leaves out. It then names (1) other real clips, (2) the same after the autoencoder's round trip and (3) clips
that the checkpoint makes from the bare name of each class and (4) from the page's example prompts, analysed from the
sound that a user would hear.

``python benchmarks/adherence.py`` prints the table and writes benchmarks/results/adherence.md; for another
checkpoint than the embedded one, its name is part of the file's. Needs a sound font.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections import defaultdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from riffusion_space.codec import encode
from riffusion_space.latents import decode_latents, encode_pixels
from riffusion_space.pipeline import RiffusionPipeline
from riffusion_space.training.compose import compose_genre, compose_solo
from riffusion_space.training.corpus import CLIP_SAMPLES, HELD_OUT_SEEDS, PARAMS, analyse
from riffusion_space.training.render import Renderer
from riffusion_space.training.sounds import GENRES, INSTRUMENTS
from riffusion_space.ui.text2audio import EXAMPLES

RESULTS = Path(__file__).resolve().parent / "results"
CLASSES = [*INSTRUMENTS, *GENRES]
TRAIN_SEEDS = range(0, 48)  # a class; all below HELD_OUT_SEEDS, which the corpus leaves out
TEST_SEEDS = range(1000, 1006)


def _render_class(task: tuple[int, range]) -> np.ndarray:
    index, seeds = task
    torch.set_num_threads(1)
    renderer, sound = Renderer(), CLASSES[index]
    clips = []
    for seed in seeds:
        rng = random.Random(f"judge {index} {seed}")
        make = compose_solo if index < len(INSTRUMENTS) else compose_genre
        piece = make(rng, sound, CLIP_SAMPLES / PARAMS.sample_rate)
        clips.append(analyse(renderer.render(piece, CLIP_SAMPLES, seed)))
    return np.stack(clips)


def real_clips(seeds: range, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Held-out clips, uint8 (classes * seeds, 512, 512), and their classes."""
    assert seeds.stop <= HELD_OUT_SEEDS
    with get_context("spawn").Pool(workers) as pool:
        pixels = pool.map(_render_class, [(index, seeds) for index in range(len(CLASSES))], chunksize=1)
    return np.concatenate(pixels), np.repeat(np.arange(len(CLASSES)), len(seeds))


def features(pixels: np.ndarray) -> torch.Tensor:
    """What the judge sees: darkness averaged to (n, 1, 256, 64)."""
    parts = torch.from_numpy(pixels).split(64)
    return torch.cat([F.avg_pool2d(1 - part.float()[:, None] / 255, (2, 8)) for part in parts])


def build_judge() -> nn.Module:
    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(*block(1, 24), *block(24, 48), *block(48, 96), *block(96, 128), nn.AdaptiveAvgPool2d((4, 1)),
                         nn.Flatten(), nn.Dropout(0.3), nn.Linear(512, len(CLASSES)))


def train_judge(pixels: np.ndarray, labels: np.ndarray, epochs: int) -> nn.Module:
    """Train on real clips, shifted in time and a little in level and pitch, so that timbre decides."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    judge, x, y = build_judge(), features(pixels), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.02)
    batches = -(-len(x) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs * batches)
    for epoch in range(epochs):
        judge.train()
        for chosen in torch.randperm(len(x), generator=generator).split(64):
            shift = torch.randint(-3, 4, (2,), generator=generator)
            batch = x[chosen].roll((int(shift[0]), int(shift[1]) * 8), (2, 3))
            batch = batch * torch.empty(len(batch), 1, 1, 1).uniform_(0.85, 1.15, generator=generator)
            loss = F.cross_entropy(judge(batch), y[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"judge epoch {epoch + 1} of {epochs}: loss {loss.item():.3f}", file=sys.stderr)
    return judge.eval()


@torch.no_grad()
def right(judge: nn.Module, pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For each clip, whether the judge names its class first among the classes of its kind; bool (n,)."""
    scores = judge(features(pixels))
    kind = len(INSTRUMENTS)
    named = torch.where(torch.from_numpy(labels) < kind, scores[:, :kind].argmax(1), scores[:, kind:].argmax(1) + kind)
    return (named.numpy() == labels)


def generated_clips(pipe: RiffusionPipeline, seeds: range) -> tuple[np.ndarray, np.ndarray]:
    """Spectrograms of what the checkpoint makes of each class's bare name, from its sound."""
    pixels, labels = [], []
    for index, sound in enumerate(CLASSES):
        for seed in seeds:
            clip = pipe.text2audio(sound.name, seed=seed)
            pixels.append(np.asarray(encode(clip.audio, PARAMS))[:, :, 0])
            labels.append(index)
        print(f"generated {sound.name}", file=sys.stderr)
    return np.stack(pixels), np.array(labels)


def named(prompt: str) -> list[int]:
    """The classes that a prompt names; of "steel drums" not the drums."""
    words = {word: index for index, sound in enumerate(CLASSES) for word in sound.synonyms
             if re.search(rf"\b{re.escape(word)}\b", prompt)}
    return sorted({index for word, index in words.items() if not any(word in other != word for other in words)})


@torch.no_grad()
def heard_in_examples(judge: nn.Module, pipe: RiffusionPipeline, seeds: range) -> list[str]:
    """Rows of a table: a prompt, in how many of the clips the judge hears what it names, and what it hears."""
    rows = []
    for prompt in EXAMPLES:
        clips = [pipe.text2audio(prompt, seed=seed).audio for seed in seeds]
        heard = judge(features(np.stack([np.asarray(encode(clip, PARAMS))[:, :, 0] for clip in clips]))).argmax(1)
        hits = sum(index in named(prompt) for index in heard.tolist())
        rows.append(f"| {prompt} | {hits} of {len(seeds)} | {', '.join(CLASSES[i].name for i in heard.tolist())} |")
        print(f"generated {prompt}", file=sys.stderr)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how well a checkpoint follows its prompts.")
    parser.add_argument("--checkpoint", default="embedded")
    parser.add_argument("--seeds", type=int, default=3, help="clips generated a class")
    parser.add_argument("--epochs", type=int, default=14, help="of the judge")
    parser.add_argument("--cache", type=Path, default=Path("data/judge"), help="where rendered clips are kept")
    args = parser.parse_args()

    args.cache.mkdir(parents=True, exist_ok=True)
    sets = {}
    for name, seeds in (("train", TRAIN_SEEDS), ("test", TEST_SEEDS)):
        path = args.cache / f"{name}-{seeds.start}-{seeds.stop}.npz"
        if not path.exists():
            pixels, labels = real_clips(seeds, workers=2)
            np.savez(path, pixels=pixels, labels=labels)
        with np.load(path) as saved:
            sets[name] = saved["pixels"], saved["labels"]
    weights = args.cache / f"judge-{TRAIN_SEEDS.stop}-{args.epochs}.pt"
    if weights.exists():
        judge = build_judge()
        judge.load_state_dict(torch.load(weights, weights_only=True))
        judge.eval()
    else:
        judge = train_judge(*sets["train"], args.epochs)
        torch.save(judge.state_dict(), weights)

    pipe = RiffusionPipeline.from_pretrained(args.checkpoint)
    pixels, labels = sets["test"]
    latents = torch.cat([encode_pixels(part, pipe.checkpoint, pipe.grid) for part in torch.from_numpy(pixels).split(8)])
    trip = torch.cat([decode_latents(part, pipe.checkpoint, pipe.grid, 512) for part in latents.split(8)]).numpy()
    rows = {
        "real held-out clips": (right(judge, pixels, labels), labels),
        "the same through the autoencoder": (right(judge, trip, labels), labels),
    }
    made, made_labels = generated_clips(pipe, range(args.seeds))
    rows["generated clips"] = (right(judge, made, made_labels), made_labels)

    recommended = pipe.checkpoint.recommended
    kind = len(INSTRUMENTS)
    lines = [
        f"Checkpoint `{pipe.checkpoint.name}`, revision `{pipe.checkpoint.revision[:12]}`, {recommended.steps} steps, "
        f"guidance {recommended.guidance:g}, {recommended.scheduler}; {args.seeds} seeds a class.", "",
        f"| clips | instrument top-1 ({kind} classes) | genre top-1 ({len(GENRES)} classes) |", "|---|---|---|",
        f"| chance | {1 / kind:.1%} | {1 / len(GENRES):.1%} |",
    ]
    for name, (hits, truth) in rows.items():
        lines.append(f"| {name} | {hits[truth < kind].mean():.1%} | {hits[truth >= kind].mean():.1%} |")
    by_class = defaultdict(list)
    hits, truth = rows["generated clips"]
    for label in np.unique(truth):
        by_class[int(hits[truth == label].sum())].append(CLASSES[label].name)
    lines += ["", "Generated clips that the judge recognised, by class:", ""]
    for count in sorted(by_class, reverse=True):
        lines.append(f"- {count} of {args.seeds}: {', '.join(by_class[count])}")
    lines += ["", "What it hears, out of all classes, in clips made from the page's examples:", "",
              "| prompt | heard | as |", "|---|---|---|", *heard_in_examples(judge, pipe, range(args.seeds))]
    RESULTS.mkdir(exist_ok=True)
    name = "adherence" if args.checkpoint == "embedded" else f"adherence-{pipe.checkpoint.name.replace('/', '-')}"
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
