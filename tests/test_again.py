"""What was made is made once more from what its file says, or with changes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import make_music

from riffusion_space.audio import write_audio
from riffusion_space.cli import main
from riffusion_space.clip import Clip

FAST = {"seed": 5, "steps": 2, "guidance": 3.0}
SECTIONS = [{"name": "intro", "bars": 1, "prompt": "rain"}, {"name": "drop", "bars": 1, "prompt": "hail", "seed": 8}]


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs")
    return [write_audio(make_music(2, seed=seed), folder / name) for seed, name in enumerate(("one.flac", "two.flac"))]


def same(one: Clip, other: Clip) -> bool:
    return np.array_equal(one.audio.samples, other.audio.samples)


@pytest.mark.parametrize("task, arguments", [
    ("text2audio", {"prompt": "rain", "duration_s": 1.5, "seed_image": "beat", "scheduler": "euler a"}),
    ("text2audio", {"prompt": "rain", "loop": True, "bpm": 120.0, "bars": 1, "key": "A minor"}),
    ("interpolate", {"prompt_a": "rain", "seed_b": 7, "clips": 2, "guidance_b": 1.0}),
    ("arrange", {"sections": SECTIONS, "bpm": 140.0}),
])
def test_the_samples_are_the_same_again(tiny_pipe, tmp_path, task, arguments):
    clip = getattr(tiny_pipe, task)(**arguments, **FAST)
    assert same(tiny_pipe.again(clip.settings), clip)
    again = tiny_pipe.again(clip.save(tmp_path / "clip.ogg"))
    assert same(again, clip) and again.settings == clip.settings


@pytest.mark.parametrize("task, arguments", [
    ("audio2audio", {"prompt": "rain"}), ("inpaint", {"prompt": "rain", "regions": [(0.5, 1.0, 200, 2000)]}),
    ("extend", {"prompt": "rain", "seconds": 1.0, "side": "left"}), ("morph", {"duration_s": 1.5}),
])
def test_recordings_are_found_beside_the_file_or_asked_for(tiny_pipe, songs, tmp_path, task, arguments):
    given = {"audio_a": songs[0], "audio_b": songs[1]} if task == "morph" else {"audio": songs[0]}
    clip = getattr(tiny_pipe, task)(**given, **arguments, **FAST)
    assert same(tiny_pipe.again(clip.save(songs[0].with_name("made.png"))), clip)
    elsewhere = clip.save(tmp_path / "made.wav")
    with pytest.raises(ValueError, match=r"expected audio\w* among the changes: 'one.flac', which it was made with"):
        tiny_pipe.again(elsewhere)
    assert same(tiny_pipe.again(elsewhere, **given), clip)


def test_with_changes(tiny_pipe):
    clip = tiny_pipe.text2audio("rain", duration_s=1.0, **FAST)
    other = tiny_pipe.again(clip.settings, prompt="hail", seed=6)
    assert same(other, tiny_pipe.text2audio("hail", duration_s=1.0, **{**FAST, "seed": 6})) and not same(other, clip)
    with pytest.raises(ValueError, match="a change to prompt, negative_prompt, .*, the arguments of text2audio"):
        tiny_pipe.again(clip.settings, clips=3)


def test_another_model_is_told(tiny_pipe):
    settings = tiny_pipe.text2audio("rain", duration_s=1.0, **FAST).settings
    for name, value in (("checkpoint", "other"), ("revision", "0123"), ("loras", [{"name": "bells"}]),
                        ("dtype", "float16")):
        called = {"loras": "LoRAs", "dtype": "type of numbers"}.get(name, name)
        with pytest.warns(UserWarning, match=f"made with another .*{called}"):
            tiny_pipe.again({**settings, name: value})


def test_what_was_not_made_by_a_task_is_refused(tiny_pipe, songs):
    with pytest.raises(ValueError, match="made by text2audio, .*, got 'stream'"):
        tiny_pipe.again({"task": "stream", "prompt": "rain"})
    with pytest.raises(ValueError, match="one.flac holds no settings"):
        tiny_pipe.again(songs[0])
    with pytest.raises(ValueError, match="there is no 'gone.wav'"):
        tiny_pipe.again("gone.wav")


def test_numbers_of_numpys_are_taken(tiny_pipe):
    numbers = {"seed": np.int64(5), "steps": np.int32(2), "guidance": np.float32(3), "duration_s": np.float64(1)}
    clip = tiny_pipe.text2audio("rain", **numbers)
    assert same(clip, tiny_pipe.text2audio("rain", duration_s=1.0, **FAST)) and json.dumps(clip.settings)


def test_from_the_command_line(tiny_pipe, tiny_folder, songs, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RIFFUSION_DTYPE", "float32")  # what the pipeline computes in
    model = ["--checkpoint", str(tiny_folder), "--device", "cpu"]
    clips = {"text": tiny_pipe.text2audio("rain", duration_s=1.0, **FAST),
             "piece": tiny_pipe.arrange(SECTIONS, bpm=140.0, **FAST),
             "inpainted": tiny_pipe.inpaint(songs[0], "rain", [(0.5, 1.0)], **FAST)}
    for name, clip in clips.items():
        made = clip.save(songs[0].with_name(f"{name}.wav"))
        out = tmp_path / f"{name} again.wav"
        assert main(["again", str(made), "-o", str(out), *model]) == 0
        assert out.read_bytes() == made.read_bytes()
    changed = tmp_path / "changed.wav"
    assert main(["again", str(made), "--prompt", "hail", "--audio", str(songs[1]), "-o", str(changed), *model]) == 0
    assert changed.read_bytes() != made.read_bytes() and "note:" not in capsys.readouterr().err
    assert main(["again", str(made), "--duration-s", "3", "-o", str(changed), *model]) == 2
    assert "expected a change to audio, prompt" in capsys.readouterr().err
