"""The spectrogram picture: what is where, and in which colour."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from riffusion_space.audio import Waveform
from riffusion_space.codec import encode
from riffusion_space.spectrogram import SpectrogramParams, to_exif
from riffusion_space.ui import picture

RATE = 44100


def tone(hz: float, seconds: float = 1.0) -> Image.Image:
    time = np.arange(round(seconds * RATE)) / RATE
    return encode(Waveform(0.5 * np.sin(2 * np.pi * hz * time)[None], RATE))


def plot(drawn: Image.Image) -> np.ndarray:
    """What is inside the axes, in shades of grey."""
    left, top, right, bottom = picture.MARGINS
    return np.asarray(drawn.crop((left, top, drawn.width - right, drawn.height - bottom)).convert("L"))


def test_equal_steps_are_equal_steps_in_lightness():
    lightness = [picture._lightness(colour) for colour in picture.colour_table()]
    steps = np.diff(lightness)
    assert lightness[0] < 5 and lightness[-1] > 90
    assert np.abs(np.cumsum(steps) - np.arange(1, 256) * steps.mean()).max() < 2


@pytest.mark.parametrize("hz", [200, 1000, 5000])
def test_tone_stands_at_its_tick(hz):
    drawn = picture.draw(tone(hz))
    brightest = plot(drawn).mean(axis=1).argmax()
    (band,) = (band for tick, band in picture._frequency_ticks(SpectrogramParams(), 440) if tick == hz)
    assert brightest == pytest.approx(440 * (1 - (band + 0.5) / 512), abs=2)


def test_sound_begins_at_its_time():
    silence_then_tone = np.concatenate([np.zeros(RATE), 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)])
    columns = plot(picture.draw(encode(Waveform(silence_then_tone[None], RATE)))).mean(axis=0)
    assert np.argmax(columns > columns.max() / 2) == pytest.approx(len(columns) / 2, abs=len(columns) * 0.06)


def test_size_does_not_depend_on_the_duration():
    assert picture.draw(tone(440, 0.3)).size == picture.draw(tone(440, 40)).size


@pytest.mark.parametrize(("duration", "expected"), [(0.3, 0.05), (1, 0.2), (5.11, 1), (30, 5), (180, 50)])
def test_time_axis_has_round_numbers(duration, expected):
    ticks = picture._time_ticks(duration)
    assert ticks[1] == pytest.approx(expected) and ticks[-1] <= duration and len(ticks) <= 8


def test_silence_in_stereo_is_dark():
    params = SpectrogramParams(stereo=True)
    image = Image.merge("RGB", [Image.new("L", (100, 512), value) for value in (0, 255, 255)])
    image.getexif().update(to_exif(params, 0.0))
    assert plot(picture.draw(image)).max() < 20


def test_image_without_parameters_is_refused():
    with pytest.raises(ValueError, match="EXIF"):
        picture.draw(Image.new("RGB", (512, 512)))
