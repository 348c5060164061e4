import re
import subprocess
import sys
import time

import pytest
from conftest import make_music
from PIL import Image

from riffusion_space import cli
from riffusion_space.audio import read_audio, write_audio
from riffusion_space.clip import read_settings


def run(*arguments, timeout=300):
    return subprocess.run([sys.executable, "-m", "riffusion_space", *map(str, arguments)], capture_output=True,
                          text=True, timeout=timeout)


@pytest.fixture(scope="module")
def tiny(tiny_folder):
    return ("--checkpoint", tiny_folder, "--device", "cpu", "--steps", 2)


def test_text2audio_writes_the_same_bytes_twice(tmp_path, tiny):
    for name in ("one.wav", "two.wav"):
        done = run("text2audio", "church bells", "--seed", 7, "-o", tmp_path / name, *tiny)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "" and "Step 2 of 2" in done.stderr and "seed 7" in done.stderr
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "two.wav").read_bytes()
    assert read_settings(tmp_path / "one.wav")["prompt"] == "church bells"


def test_audio2audio_and_interpolate(tmp_path, tiny):
    song = write_audio(make_music(2.5), tmp_path / "song.ogg")
    done = run("audio2audio", song, "flute", "--strength", 0.5, "-o", tmp_path / "flute.mp3", *tiny)
    assert done.returncode == 0, done.stderr
    assert read_audio(tmp_path / "flute.mp3").duration_s == pytest.approx(2.5, abs=0.1)
    done = run("interpolate", "rain", "wind", "--clips", 2, "-o", tmp_path / "walk.png", *tiny)
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "walk.png").size == (1024, 512)


def test_codec_both_ways(tmp_path):
    song = write_audio(make_music(2.0), tmp_path / "song.flac")
    assert run("audio2image", song, "-o", tmp_path / "song.png").returncode == 0
    assert run("image2audio", tmp_path / "song.png", "-o", tmp_path / "back.wav").returncode == 0
    assert read_audio(tmp_path / "back.wav").duration_s == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("arguments, complaint", [
    (("text2audio", "", "-o", "x.wav"), "prompt"),
    (("text2audio", "rain", "-o", "x.txt"), "--output to end in"),
    (("text2audio", "rain", "-o", "no/such/folder/x.wav"), "folder that exists"),
    (("text2audio", "rain", "--steps", "0", "-o", "x.wav"), "steps"),
    (("text2audio", "rain", "--steps", "many", "-o", "x.wav"), "--steps"),
    (("audio2audio", "missing.mp3", "flute", "-o", "x.wav"), "missing.mp3"),
    (("interpolate", "rain", "-o", "x.wav"), "prompt_b or seed_b"),
    (("image2audio", "missing.png", "-o", "x.wav"), "missing.png"),
    (("text2audio", "rain", "-o", "x.wav", "--checkpoint", "no/such@@"), "no/such@@"),
    (("text2audio", "rain", "-o", "x.wav", "--device", "gpu"), "a device that this machine has"),
    (("sing", "rain"), "sing"),
])
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, complaint, tiny, tmp_path):
    needs_model = arguments[0] in ("text2audio", "audio2audio", "interpolate") and "--checkpoint" not in arguments
    model = tiny[: 2 if "--device" in arguments else 4] if needs_model else ()
    done = run(*arguments, *model)
    assert done.returncode == 2 and complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(r"error: .+", done.stderr.strip().splitlines()[-1])


def test_what_the_system_refuses_is_a_sentence_and_exit_code_1(monkeypatch, capsys, tmp_path):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli, "_run", full)
    assert cli.main(["image2audio", "a.png", "-o", str(tmp_path / "x.wav")]) == 1
    assert capsys.readouterr().err == f"error: No space left on device: {tmp_path / 'x.wav'}\n"


def test_help_is_quick_and_names_every_task():
    started = time.monotonic()
    done = run("--help")
    assert done.returncode == 0 and time.monotonic() - started < 5
    for task in ("text2audio", "audio2audio", "interpolate", "image2audio", "audio2image"):
        assert task in done.stdout


def test_importing_the_package_is_quick_and_loads_nothing_heavy():
    code = "import sys, riffusion_space; assert not {'torch', 'gradio', 'diffusers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
