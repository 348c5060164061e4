"""A judge that names what it hears in a clip: a small classifier of every sound that the training corpus can play.

``python benchmarks/judge.py`` renders clips that the corpus leaves out, trains the judge on them and writes
benchmarks/judge.safetensors; benchmarks/adherence.py listens with it. Needs sound fonts.
"""

from __future__ import annotations

import argparse
import random
import sys
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from riffusion_space.training.compose import Piece, compose_ambience, compose_genre, compose_solo
from riffusion_space.training.corpus import CLIP_SAMPLES, HELD_OUT_SEEDS, PARAMS, analyse
from riffusion_space.training.render import renderer
from riffusion_space.training.sounds import AMBIENCES, GENRES, INSTRUMENTS, Ambience, Genre, Instrument

WEIGHTS = Path(__file__).resolve().parent / "judge.safetensors"
CLASSES: tuple[Instrument | Genre | Ambience, ...] = (*INSTRUMENTS, *GENRES, *AMBIENCES)
SECONDS = CLIP_SAMPLES / PARAMS.sample_rate
TRAIN_SEEDS = range(0, 40)  # a class; all below HELD_OUT_SEEDS, which the corpus leaves out
TEST_SEEDS = range(1000, 1006)
EMBEDDING = 64


def piece_of(index: int, seed: int) -> Piece:
    """A held-out piece of a class."""
    sound, rng = CLASSES[index], random.Random(f"judge {index} {seed}")
    if isinstance(sound, Ambience):
        return compose_ambience(rng, sound)
    return (compose_solo if isinstance(sound, Instrument) else compose_genre)(rng, sound, SECONDS)


def _render_class(task: tuple[int, range]) -> np.ndarray:
    index, seeds = task
    torch.set_num_threads(1)
    return np.stack([analyse(renderer().render(piece_of(index, seed), CLIP_SAMPLES, seed)) for seed in seeds])


def real_clips(classes: list[int], seeds: range, workers: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Held-out clips, uint8 (classes * seeds, 512, 512), and their classes."""
    assert seeds.stop <= HELD_OUT_SEEDS
    with get_context("spawn").Pool(workers) as pool:
        pixels = pool.map(_render_class, [(index, seeds) for index in classes], chunksize=1)
    return np.concatenate(pixels), np.repeat(classes, len(seeds))


def features(pixels: np.ndarray) -> torch.Tensor:
    """What the judge sees of uint8 (n, 512, 512): darkness averaged to (n, 1, 128, 64)."""
    parts = torch.from_numpy(pixels).split(64)
    return torch.cat([F.avg_pool2d(1 - part.float()[:, None] / 255, (4, 8)) for part in parts])


class Judge(nn.Module):
    """(n, 1, 128, 64) features to an embedding (n, 64) and, from that, a score for each class."""

    def __init__(self) -> None:
        super().__init__()

        def block(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]

        self.body = nn.Sequential(*block(1, 24), *block(24, 48), *block(48, 96), *block(96, 128),
                                  nn.AdaptiveAvgPool2d((4, 1)), nn.Flatten(), nn.Dropout(0.2),
                                  nn.Linear(512, EMBEDDING))
        self.head = nn.Sequential(nn.BatchNorm1d(EMBEDDING), nn.ReLU(), nn.Linear(EMBEDDING, len(CLASSES)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))

    @torch.no_grad()
    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Embeddings (n, 64) of uint8 clips (n, 512, 512)."""
        return torch.cat([self.body(part) for part in features(pixels).split(64)]).numpy()

    @torch.no_grad()
    def name(self, pixels: np.ndarray, classes: list[int]) -> np.ndarray:
        """Which of ``classes`` it hears in each clip; (n,)."""
        scores = torch.cat([self(part) for part in features(pixels).split(64)])[:, classes]
        return np.array(classes)[scores.argmax(1).numpy()]


def train(pixels: np.ndarray, labels: np.ndarray, epochs: int) -> Judge:
    """Train on real clips, shifted in time and a little in level and pitch, so that timbre decides."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    judge, x, y = Judge(), features(pixels), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, epochs * -(-len(x) // 64))
    for epoch in range(epochs):
        judge.train()
        for chosen in torch.randperm(len(x), generator=generator).split(64):
            shift = torch.randint(-2, 3, (2,), generator=generator)
            batch = x[chosen].roll((int(shift[0]), int(shift[1]) * 8), (2, 3))
            batch = batch * torch.empty(len(batch), 1, 1, 1).uniform_(0.85, 1.15, generator=generator)
            loss = F.cross_entropy(judge(batch), y[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"judge epoch {epoch + 1} of {epochs}: loss {loss.item():.3f}", file=sys.stderr)
    return judge.eval()


def load() -> Judge:
    """The trained judge."""
    judge = Judge()
    judge.load_state_dict({name: value.float() if value.is_floating_point() else value
                           for name, value in load_file(WEIGHTS).items()})
    return judge.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the judge that benchmarks/adherence.py listens with.")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--cache", type=Path, default=Path("data/judge"), help="where rendered clips are kept")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    everything = list(range(len(CLASSES)))
    sets = {}
    for name, seeds in (("train", TRAIN_SEEDS), ("test", TEST_SEEDS)):
        path = args.cache / f"{name}-{len(CLASSES)}-{seeds.start}-{seeds.stop}.npz"
        if not path.exists():
            pixels, labels = real_clips(everything, seeds)
            np.savez(path, pixels=pixels, labels=labels)
        with np.load(path) as saved:
            sets[name] = saved["pixels"], saved["labels"]
    judge = train(*sets["train"], args.epochs)
    pixels, labels = sets["test"]
    for kind, sounds in (("instruments", INSTRUMENTS), ("genres", GENRES), ("ambiences", AMBIENCES)):
        classes = [index for index, sound in enumerate(CLASSES) if sound in sounds]
        chosen = np.isin(labels, classes)
        right = judge.name(pixels[chosen], classes) == labels[chosen]
        print(f"{kind}: {right.mean():.1%} of {chosen.sum()} held-out clips; worst: "
              + ", ".join(f"{CLASSES[i].name} {right[labels[chosen] == i].mean():.0%}"
                          for i in sorted(classes, key=lambda i: right[labels[chosen] == i].mean())[:6]))
    state = {name: value.half() if value.is_floating_point() else value for name, value in judge.state_dict().items()}
    save_file(state, WEIGHTS)
    print(f"wrote {WEIGHTS.name}, {WEIGHTS.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
