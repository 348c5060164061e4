"""Seed images: spectrograms of loops that give img2img its tempo and key.

The built-in ones are whole-measure loops that ``riffusion_space.training.seed_images`` renders; an image or audio
file of one's own serves as well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from riffusion_space.audio import Waveform, read_audio
from riffusion_space.codec import encode
from riffusion_space.spectrogram import CLIP_COLUMNS, SpectrogramParams

SEED_IMAGES_DIR = Path(__file__).resolve().parent.parent / "assets" / "seed_images"
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
MAX_PIXELS = 64_000_000  # an image that unpacks to more is refused before it is read


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


def load_seed_image(source: str | Path | Image.Image, params: SpectrogramParams) -> Image.Image:
    """A seed image as a mono spectrogram, RGB, of ``params.num_frequencies`` rows and 512 columns.

    ``source`` is a built-in name, an image file, an audio file (its first 5.12 s) or an image. An image that is
    narrower is repeated, a wider one cut. Raises ValueError for a name that is not there, a file that is neither,
    or an image of another height.
    """
    image = source if isinstance(source, Image.Image) else _open(source, params)
    if image.height != params.num_frequencies or image.width < 2:
        raise ValueError(f"expected a seed image {params.num_frequencies} pixels high and at least 2 wide, "
                         f"got {image.width} x {image.height}")
    image = image.convert("RGB")
    loop = Image.new("RGB", (CLIP_COLUMNS, image.height))
    for left in range(0, CLIP_COLUMNS, image.width):
        loop.paste(image, (left, 0))
    return loop


def _open(source: str | Path, params: SpectrogramParams) -> Image.Image:
    if str(source) in names():
        return Image.open(SEED_IMAGES_DIR / f"{source}.png")
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"expected a seed image out of {', '.join(names())}, or a file, got {str(source)!r}")
    if path.suffix.lower() not in _IMAGE_SUFFIXES:
        wave = read_audio(path).to_mono().resampled(params.sample_rate)
        return encode(Waveform(wave.samples[:, : CLIP_COLUMNS * params.hop_length], wave.sample_rate), params)
    try:
        image = Image.open(path)
    except UnidentifiedImageError as error:
        raise ValueError(f"expected an image or audio file as the seed image, but {path.name} is neither") from error
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"expected a seed image of at most {MAX_PIXELS} pixels, got {image.width} x {image.height}")
    return image
