"""Seed images: spectrograms of loops that give img2img its tempo and key.

The built-in ones are whole-measure loops that ``riffusion_space.training.seed_images`` renders; an image or audio
file of one's own serves as well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from riffusion_space.audio import Waveform, read_audio
from riffusion_space.config import ASSETS
from riffusion_space.images import is_stereo, read_image
from riffusion_space.spectrogram import CLIP_COLUMNS, SpectrogramParams, from_exif, has_params
from riffusion_space.tempo import steady_beat

SEED_IMAGES_DIR = ASSETS / "seed_images"
_NEARLY = 0.95  # of a clip is one, and no loop of its own
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic")


@dataclass(frozen=True)
class SeedImage:
    """A built-in loop: how it sounds, its tempo in BPM, its key and how many 4/4 bars its 5.12 s hold."""

    name: str
    description: str
    bpm: float
    key: str
    bars: int

    @property
    def path(self) -> Path:
        return SEED_IMAGES_DIR / f"{self.name}.png"


def built_in() -> tuple[SeedImage, ...]:
    """The seed images that come with the project, by name."""
    index = json.loads((SEED_IMAGES_DIR / "index.json").read_text(encoding="utf-8"))
    return tuple(SeedImage(**entry) for entry in index)


def names() -> tuple[str, ...]:
    return tuple(seed.name for seed in built_in())


def is_picture(path: str | Path) -> bool:
    """Whether a file is a picture by its name, and not a sound."""
    return Path(path).suffix.lower() in _IMAGE_SUFFIXES


def load_seed_image(source: str | Path | Image.Image, params: SpectrogramParams) -> Image.Image:
    """A seed image as a mono spectrogram, RGB, of ``params.num_frequencies`` rows and 512 columns.

    ``source`` is a built-in name, an image file, an audio file (its first 5.12 s) or an image. An image that is
    narrower is repeated, a wider one cut. Raises ValueError for a name that is not there, a file that is neither,
    or an image of another height or of other parameters. Left and right of a stereo image are mixed.
    """
    import torch  # which takes seconds, and a list of names does not need it

    from riffusion_space.codec import amplitudes_to_pixels, pixels_to_amplitudes

    image = source if isinstance(source, Image.Image) else _open(source, params)
    if has_params(image.getexif()):
        own, _ = from_exif(image.getexif())
        if replace(own, stereo=False) != params:
            raise ValueError("expected a seed image with the checkpoint's scale of time and frequency, got another")
    if image.height != params.num_frequencies or image.width < 2:
        raise ValueError(f"expected a seed image {params.num_frequencies} pixels high and at least 2 wide, "
                         f"got {image.width} x {image.height}")
    image = image.convert("RGB")
    if is_stereo(image):
        _, left, right = (torch.from_numpy(plane.copy()) for plane in np.asarray(image).transpose(2, 0, 1))
        both = torch.stack([pixels_to_amplitudes(plane, 1.0, params) for plane in (left, right)])
        image = Image.fromarray(amplitudes_to_pixels(both.mean(0), 1.0, params).numpy()).convert("RGB")
    loop = Image.new("RGB", (CLIP_COLUMNS, image.height))
    for left in range(0, CLIP_COLUMNS, image.width):
        loop.paste(image, (left, 0))
    return loop


def loop_columns(source: str | Path, params: SpectrogramParams) -> tuple[float, float | None]:
    """How many of a seed image's 512 columns to repeat, so that its beat goes on, and its tempo, where that is known.

    A picture or sound that is shorter is a loop as it is. Of a longer sound it is as many bars as there is place for,
    if it has a steady beat. Raises ValueError for a file that is neither.
    """
    for seed in built_in():
        if seed.name == str(source):
            return float(CLIP_COLUMNS), seed.bpm
    if is_picture(source):
        return float(min(read_image(source).width, CLIP_COLUMNS)), None
    clip_s = CLIP_COLUMNS / params.columns_per_second
    wave = read_audio(source, only_seconds=clip_s)
    beat = steady_beat(wave)
    seconds = min(wave.duration_s, clip_s)
    if beat is not None and seconds > _NEARLY * clip_s:
        seconds = beat.bars_s(clip_s)
    return seconds * params.columns_per_second, None if beat is None else 60 / beat.step_s


def _open(source: str | Path, params: SpectrogramParams) -> Image.Image:
    if str(source) in names():
        return read_image(SEED_IMAGES_DIR / f"{source}.png")
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"expected a seed image out of {', '.join(names())}, or a file, got {str(source)!r}")
    if not is_picture(path):
        from riffusion_space.codec import encode  # which imports torch

        clip_s = CLIP_COLUMNS / params.columns_per_second
        wave = read_audio(path, only_seconds=clip_s).to_mono().resampled(params.sample_rate)
        image = encode(Waveform(wave.samples[:, : CLIP_COLUMNS * params.hop_length], wave.sample_rate), params)
        # Without the column at its very end, which is where it begins again.
        return image.crop((0, 0, max(2, wave.num_samples // params.hop_length), image.height))
    return read_image(path)
