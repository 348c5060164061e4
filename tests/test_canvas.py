"""What is drawn on the canvas, and what it takes to draw on."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from conftest import make_music
from PIL import Image

from riffusion_space.audio import write_audio
from riffusion_space.codec import encode
from riffusion_space.seed_images import built_in
from riffusion_space.ui.canvas import SIZE, from_file, from_value, to_value


def data_url(image: Image.Image) -> dict[str, str]:
    data = io.BytesIO()
    image.save(data, "PNG")
    return {"drawing": "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()}


def test_drawing_comes_back_as_it_was():
    drawing = Image.fromarray(np.random.default_rng(0).integers(0, 256, SIZE, np.uint8))
    back = from_value(to_value(drawing))
    assert back.mode == "L" and np.array_equal(np.asarray(back), np.asarray(drawing))


def test_transparent_is_white():
    sheet = Image.new("RGBA", SIZE, (0, 0, 0, 0))
    sheet.paste((0, 0, 0, 255), (10, 20, 30, 40))
    pixels = np.asarray(from_value(data_url(sheet)))
    assert (pixels[20:40, 10:30] == 0).all() and (pixels == 255).sum() == pixels.size - 400


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "the canvas is white"),
        ("", "the canvas is white"),
        (data_url(Image.new("L", SIZE, 255)), "the canvas is white"),
        (data_url(Image.new("RGBA", SIZE)), "the canvas is white"),
        (data_url(Image.new("L", (512, 511))), "of 512 x 512 pixels, got 512 x 511"),
        (data_url(Image.new("1", (20_000, 20_000))), "none or a damaged one|of 512 x 512 pixels"),  # a bomb
        ({"drawing": data_url(Image.new("L", SIZE))["drawing"][:-200]}, "damaged"),
        ({"drawing": "data:image/png;base64,?"}, "damaged"),
        ({"drawing": "data:image/svg+xml;base64,AAAA"}, "as the page makes it"),
        ({"drawing": "data:image/png;base64," + 5_000_000 * "A"}, "as the page makes it"),
        ({"drawing": 5}, "as the page makes it"),
        ("/etc/passwd", "as the page makes it"),
        ([], "as the page makes it"),
    ],
)
def test_refuses_what_is_no_drawing(value, sentence):
    with pytest.raises(ValueError, match=sentence):
        from_value(value)


def test_spectrograms_are_taken_as_they_are(tmp_path):
    loop = built_in()[0].path
    with Image.open(loop) as image:
        assert np.array_equal(np.asarray(from_file(loop)), np.asarray(image.convert("L")))
        image.crop((0, 0, 100, 512)).save(tmp_path / "short.png")
        wide = Image.new("RGB", (700, 512))
        wide.paste(image, (0, 0))
        wide.save(tmp_path / "long.png")
    short = np.asarray(from_file(tmp_path / "short.png"))
    assert (short[:, 100:] == 255).all() and np.array_equal(short[:, :100], np.asarray(from_file(loop))[:, :100])
    assert np.array_equal(np.asarray(from_file(tmp_path / "long.png")), np.asarray(from_file(loop)))


def test_left_and_right_are_mixed_and_end_in_silence(tmp_path):
    image = encode(make_music(2, channels=2))
    image.save(tmp_path / "stereo.png")
    drawing = np.asarray(from_file(tmp_path / "stereo.png")).astype(int)
    sides = np.asarray(image)[..., 1:].astype(int)
    loudest, quietest = sides.min(-1), sides.max(-1)
    assert (drawing[:, : image.width] >= loudest - 1).all() and (drawing[:, : image.width] <= quietest + 1).all()
    assert (drawing[:, image.width :] == 255).all()


def test_other_pictures_are_stretched_and_sounds_analysed(tmp_path):
    photo = Image.new("RGBA", (300, 200), (255, 0, 0, 255))
    photo.paste((0, 0, 0, 0), (0, 0, 150, 200))
    photo.save(tmp_path / "photo.png")
    drawing = np.asarray(from_file(tmp_path / "photo.png"))
    assert drawing.shape == SIZE and (drawing[:, :250] == 255).all() and (drawing[:, 262:] == 76).all()
    song = write_audio(make_music(8), tmp_path / "song.mp3")
    assert from_file(song).size == SIZE and np.asarray(from_file(song)).min() < 10


@pytest.mark.parametrize("name", ["words.png", "words.wav"])
def test_refuses_files_that_are_neither(tmp_path, name):
    (tmp_path / name).write_text("these are words")
    with pytest.raises(ValueError, match=f"'{name}' is none or is damaged"):
        from_file(tmp_path / name)
