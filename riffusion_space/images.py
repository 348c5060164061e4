"""Spectrogram images as files, which can be read before torch is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

MAX_PIXELS = 64_000_000


def read_image(path: str | Path) -> Image.Image:
    """A picture, read to its end.

    Raises:
        ValueError: there is no such file, it is no picture, damaged, or of more than 64 million pixels.
    """
    name = Path(path).name
    if not Path(path).is_file():
        raise ValueError(f"expected a picture, but there is no file {name!r}")
    try:
        with Image.open(path) as image:
            pixels = image.width * image.height
            if pixels <= MAX_PIXELS:
                image.load()
                return image
    except Image.DecompressionBombError:
        pass  # Pillow's own limit is beyond this one
    except (OSError, SyntaxError, ValueError) as error:  # by kind of file, and by where it is damaged
        raise ValueError(f"expected a picture, but {name!r} is none or is damaged") from error
    raise ValueError(f"expected a picture of at most {MAX_PIXELS} pixels, but {name!r} has more")


def is_stereo(image: Image.Image) -> bool:
    """Whether an RGB image holds left and right: then its red is 0, or nearly so after JPEG."""
    red, green, blue = np.asarray(image).mean((0, 1))
    return bool(red < 0.25 * max(green, blue))
