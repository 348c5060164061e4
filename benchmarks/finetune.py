"""Does fine-tuning teach riffusion-mini an instrument that nobody has, and which layers should get LoRA?

``python benchmarks/finetune.py`` plays a folder on ``riffusion_space.training.metallophone``, trains LoRAs on it, and
compares what the bare and the fine-tuned checkpoint play with clips that were not trained on. The table goes to
benchmarks/results/finetune.md.

Two figures judge a LoRA. The held-out loss is the training's own, on files left out of it. The spectral distance is
half the summed difference of two long-term spectra (mean darkness of each of the 512 bands, scaled to sum 1): 0 for the
same spectrum, 1 for spectra without a common band. Clips of the instrument among themselves give its floor.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from riffusion_space.pipeline import RiffusionPipeline
from riffusion_space.training import metallophone
from riffusion_space.training.clips import CLIP_SECONDS, analyse, cut
from riffusion_space.training.finetune import finetune
from riffusion_space.training.options import TARGETS, Options

RESULTS = Path(__file__).parent / "results/finetune.md"
SEEDS = range(3)
UNHEARD = range(1000, 1006)  # seeds of clips that no run trains on


def spectrum(pixels: np.ndarray) -> np.ndarray:
    """The long-term spectrum (bands,), summing to 1, of uint8 pixels (bands, columns)."""
    level = (255 - pixels.astype(float)).mean(1)
    return level / level.sum()


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).sum() / 2)


def played(pipe: RiffusionPipeline) -> np.ndarray:
    """The mean spectrum of what the pipeline plays for the instrument's name."""
    clips = [pipe.text2audio(metallophone.CAPTION, seed=seed, duration_s=CLIP_SECONDS) for seed in SEEDS]
    return np.mean([spectrum(np.asarray(clip.image)[..., 0]) for clip in clips], axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure fine-tuning on an invented instrument.")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    args = parser.parse_args()
    unheard = [spectrum(analyse(clip).numpy()) for seed in UNHEARD
               for clip in cut(metallophone.play(seed, CLIP_SECONDS + 0.01))]
    real, floor = np.mean(unheard, axis=0), distance(np.mean(unheard[::2], axis=0), np.mean(unheard[1::2], axis=0))
    pipe = RiffusionPipeline.from_pretrained("embedded")
    rows = [f"| real clips among themselves | | | | {floor:.2f} |",
            f"| bare riffusion-mini | 0 | | | {distance(played(pipe), real):.2f} |"]
    with tempfile.TemporaryDirectory() as folder:
        music = metallophone.write_folder(Path(folder) / "music", files=6, clips=3)
        for target in args.targets:
            out = Path(folder) / target
            outcome = finetune(music, out, Options(checkpoint="embedded", target=target, steps=args.steps,
                                                   check_every=20, sample_every=0, cache=Path(folder) / "latents"),
                               tell=print)
            pipe.load_lora(out)
            rows.append(f"| LoRA of rank 8 on {target} | {outcome.best_step} | {outcome.seconds / 60:.1f} | "
                        f"{outcome.bare_loss:.4f} -> {outcome.best_loss:.4f} | {distance(played(pipe), real):.2f} |")
            pipe.unload_loras()
            print(rows[-1], flush=True)
    table = "\n".join(["| what plays | steps | minutes | held-out loss, bare -> fine-tuned | spectral distance |",
                       "|---|---|---|---|---|", *rows])
    RESULTS.parent.mkdir(exist_ok=True)
    command = f"python benchmarks/finetune.py --steps {args.steps} --targets {' '.join(args.targets)}"
    RESULTS.write_text(f"# Fine-tuning on an instrument that nobody has\n\n{table}\n\n"
                       f"`{command}`, on {pipe.checkpoint.device.type}.\n")
    print(table)


if __name__ == "__main__":
    main()
