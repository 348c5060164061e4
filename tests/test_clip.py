import json

import numpy as np
import pytest
from conftest import make_music
from PIL import Image

from riffusion_space.audio import read_audio, write_audio
from riffusion_space.clip import Clip, read_settings
from riffusion_space.codec import decode, encode

SETTINGS = {"task": "text2audio", "prompt": "church bells, Glocken & ünïcode 🎵 " * 20, "seed": 7, "guidance": 4.5,
            "seed_image": None}


@pytest.fixture
def clip():
    wave = make_music(2.0)
    return Clip(wave, encode(wave), SETTINGS)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".png"])
def test_settings_travel_in_every_format(clip, tmp_path, suffix):
    path = clip.save(tmp_path / clip.file_name(suffix))
    assert read_settings(path) == json.loads(json.dumps(SETTINGS))


def test_saved_sound_and_picture_are_the_clips(clip, tmp_path):
    assert np.abs(read_audio(clip.save(tmp_path / "a.wav")).samples - clip.audio.samples).max() < 1e-4
    with Image.open(clip.save(tmp_path / "a.png")) as image:
        assert np.array_equal(decode(image, seed=1).samples, decode(clip.image, seed=1).samples)


def test_file_name_says_what_it_is_and_is_safe():
    def name(prompt):
        return Clip(None, None, {"task": "text2audio", "prompt": prompt, "seed": 7}).file_name()

    assert name("Church Bells!") == "church-bells-text2audio-seed7.wav"
    assert name("../../etc/passwd\0") == "etc-passwd-text2audio-seed7.wav"
    assert name("日本の琴") == "clip-text2audio-seed7.wav"
    assert len(name("x" * 500)) < 100


def test_refusals(clip, tmp_path):
    with pytest.raises(ValueError, match=r"\.wav.*got 'a.xyz'"):
        clip.save(tmp_path / "a.xyz")
    for path in (write_audio(clip.audio, tmp_path / "plain.wav"), tmp_path / "plain.png"):
        if path.suffix == ".png":
            clip.image.save(path)
        with pytest.raises(ValueError, match="holds no settings"):
            read_settings(path)
