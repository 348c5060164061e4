"""A spectrogram as a picture for people: coloured, with a time axis in seconds and a mel axis in Hz."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from riffusion_space.spectrogram import SpectrogramParams, from_exif

# From ebony over wine and brass to ivory. Every colour stands where its lightness (CIE L*) puts it, so that equal
# steps in a pixel's value are equal steps in lightness.
_COLOURS = ((11, 10, 16), (51, 20, 63), (122, 31, 75), (200, 69, 47), (235, 165, 58), (253, 243, 208))

PLOT = (880, 440)  # pixels
MARGINS = (116, 14, 30, 50)  # left, top, right, bottom of it: room for the labels
_THUMBNAIL = (240, 120)
_TICK = 8
_FONT_SIZE = 28  # still readable where a phone shows the picture at a third of its size
_INK = (128, 121, 110)  # contrast of at least 4:1 on white and on near-black: the margins are transparent
_MIN_LABEL_GAP = 34  # between the centres of two labels on the frequency axis
_MAX_TIME_LABELS = 8


def draw(image: Image.Image) -> Image.Image:
    """Draw axes around a spectrogram image that carries its parameters in EXIF.

    Returns:
        RGBA of one size whatever the duration; a stereo image shows the mean of both channels. The margins are
        transparent.

    Raises:
        ValueError: the image has no parameters.
    """
    params, _ = from_exif(image.getexif())
    left, top, right, bottom = MARGINS
    width, height = PLOT
    picture = Image.new("RGBA", (left + width + right, top + height + bottom))
    picture.paste(_coloured(image, params, PLOT), (left, top))
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(_FONT_SIZE)
    pen.rectangle((left - 1, top - 1, left + width, top + height), outline=_INK)

    for hz, band in _frequency_ticks(params, height):
        y = top + height * (1 - (band + 0.5) / params.num_frequencies)
        pen.line((left - _TICK, y, left - 1, y), fill=_INK, width=2)
        pen.text((left - _TICK - 6, y), _hz_label(hz), fill=_INK, font=font, anchor="rm")

    duration = params.seconds_for_columns(image.width)
    for seconds in _time_ticks(duration):
        x = left + (width - 1) * seconds / duration
        pen.line((x, top + height, x, top + height + _TICK), fill=_INK, width=2)
        pen.text((x, top + height + _TICK + 4), f"{seconds:g} s", fill=_INK, font=font, anchor="mt")
    return picture


def thumbnail(image: Image.Image) -> Image.Image:
    """A mono spectrogram image, small and coloured, without axes."""
    return _coloured(image, SpectrogramParams(), _THUMBNAIL)


def colour_table() -> np.ndarray:
    """The colour of each value, 0 silence and 255 loudest: uint8 of shape (256, 3)."""
    colours = np.array(_COLOURS, float)
    lightness = np.array([_lightness(colour) for colour in colours])
    positions = (lightness - lightness[0]) / (lightness[-1] - lightness[0]) * 255
    channels = [np.interp(np.arange(256), positions, channel) for channel in colours.T]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def _lightness(colour: np.ndarray) -> float:
    """CIE L*, 0 to 100, of an sRGB colour."""
    fraction = colour / 255
    linear = np.where(fraction > 0.04045, ((fraction + 0.055) / 1.055) ** 2.4, fraction / 12.92)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return 116 * luminance ** (1 / 3) - 16 if luminance > (6 / 29) ** 3 else luminance * (29 / 3) ** 3


def _coloured(image: Image.Image, params: SpectrogramParams, size: tuple[int, int]) -> Image.Image:
    pixels = np.asarray(image.convert("RGB"))
    # A stereo image holds its channels in G and B; a mono one the same in all three.
    values = 255 - (pixels[..., 1:].mean(axis=2) if params.stereo else pixels[..., 0])
    resized = Image.fromarray(values.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    return Image.fromarray(colour_table()[np.asarray(resized)])


def _frequency_ticks(params: SpectrogramParams, height: int) -> list[tuple[float, float]]:
    """Round frequencies (100, 200, 500 Hz, ...) from the top down, with their bands, far enough apart to be read."""
    rounds = [step * 10**power for power in (2, 3, 4) for step in (1, 2, 5)]
    ticks: list[tuple[float, float]] = []
    for hz in reversed(rounds):
        if not params.min_frequency <= hz <= params.max_frequency:
            continue
        band = min(params.hz_to_band(hz), params.num_frequencies - 0.5)
        gap = (ticks[-1][1] - band) / params.num_frequencies * height if ticks else _MIN_LABEL_GAP
        if gap >= _MIN_LABEL_GAP and band >= 0:
            ticks.append((hz, band))
    return ticks


def _hz_label(hz: float) -> str:
    return f"{hz / 1000:g} kHz" if hz >= 1000 else f"{hz:g} Hz"


def _time_ticks(duration: float) -> list[float]:
    """Round times from 0 on, at most ``_MAX_TIME_LABELS`` of them."""
    steps = [step * 10**power for power in range(-2, 4) for step in (1, 2, 5)]
    step = next(step for step in steps if duration / step < _MAX_TIME_LABELS)
    return [index * step for index in range(int(duration / step) + 1)]
