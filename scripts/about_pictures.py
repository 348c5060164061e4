"""Makes the About tab's pictures, assets/about/*, with the embedded checkpoint: ``python scripts/about_pictures.py``.

"church bells" as it is after some of its steps, each decoded to a spectrogram, and the waveform that comes out.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from riffusion_space import RiffusionPipeline, denoise  # noqa: E402
from riffusion_space.latents import decode_latents  # noqa: E402
from riffusion_space.schedulers import make_scheduler  # noqa: E402
from riffusion_space.spectrogram import CLIP_COLUMNS  # noqa: E402
from riffusion_space.ui.picture import colour_table  # noqa: E402

FOLDER = ROOT / "assets" / "about"
PROMPT, SEED, STEPS, SHOWN = "church bells", 7, 20, (1, 10, 15, 20)
SIZE = (320, 320)
WAVE = (800, 160)  # what the waveform is drawn in


def watched(latents: list[torch.Tensor]) -> Any:
    """``make_scheduler`` whose schedulers note what they make of every step."""
    def make(*arguments: Any) -> Any:
        scheduler = make_scheduler(*arguments)
        step = scheduler.step

        def noted(*given: Any, **extra: Any) -> Any:
            made = step(*given, **extra)
            latents.append(made.prev_sample)
            return made

        scheduler.step = noted
        return scheduler

    return make


def waveform(samples: np.ndarray) -> str:
    """An SVG of the outline of samples -1 to 1, in the colour of the text around it."""
    width, height = WAVE
    parts = np.array_split(samples, width // 2)
    up, down = ([height / 2 * (1 - extreme(part)) for part in parts] for extreme in (np.max, np.min))
    points = [*enumerate(up), *reversed(list(enumerate(down)))]
    path = " ".join(f"{2 * x},{y:.1f}" for x, y in points)
    return (f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" aria-label="The waveform">'
            f'<polygon fill="currentColor" points="{path}"/></svg>\n')


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    latents: list[torch.Tensor] = []
    denoise.make_scheduler = watched(latents)
    pipe = RiffusionPipeline.from_pretrained("embedded", "cpu")
    clip = pipe.text2audio(PROMPT, seed=SEED, steps=STEPS)
    for step in SHOWN:
        pixels = decode_latents(latents[step - 1], pipe.checkpoint, pipe.grid, CLIP_COLUMNS)[0]
        picture = Image.fromarray(colour_table()[255 - pixels.numpy()]).resize(SIZE, Image.Resampling.LANCZOS)
        picture.save(FOLDER / f"step-{step}.webp", quality=75, method=6)
    (FOLDER / "waveform.svg").write_text(waveform(clip.audio.samples[0]), encoding="utf-8")
    for path in sorted(FOLDER.iterdir()):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.1f} kB")


if __name__ == "__main__":
    main()
