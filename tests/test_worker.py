"""What ZeroGPU needs of the worker, and how errors read; the rest of it is tested with the app."""

from __future__ import annotations

import os
import pickle
import time

import pytest
from conftest import make_music

from riffusion_space.audio import write_audio
from riffusion_space.config import Config
from riffusion_space.ui.loading import PipelineLoader
from riffusion_space.ui.worker import CancelFlag, Worker, sentence


def test_gpu_time_grows_with_the_piece(tmp_path):
    worker = Worker(PipelineLoader(Config()), Config())
    song = write_audio(make_music(10.24), tmp_path / "song.wav")
    seconds = [
        worker._gpu_seconds(task, arguments, tmp_path, CancelFlag(tmp_path / "flag"))
        for task, arguments in (
            ("text2audio", {"duration_s": 5.12}),
            ("audio2audio", {"audio": song}),
            ("interpolate", {"clips": 10}),
            ("text2audio", {"duration_s": 5.11, "bpm": 120, "bars": 32}),
        )
    ]
    assert seconds == sorted(set(seconds)) and seconds[-1] < 60


def test_flag_is_seen_by_another_process(tmp_path):
    flag = CancelFlag(tmp_path / "flag")
    copy = pickle.loads(pickle.dumps(flag))
    assert not copy.is_set()
    flag.set()
    assert copy.is_set()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("expected steps from 1 to 100, got 0", "Expected steps from 1 to 100, got 0."),
        ("https://huggingface.co cannot be reached.", "https://huggingface.co cannot be reached."),
        ("/a/b is no folder", "/a/b is no folder."),
    ],
)
def test_error_reads_as_a_sentence(text, expected):
    assert sentence(ValueError(text)) == expected


def test_what_gradio_leaves_is_swept(tmp_path):
    old, young, full = (tmp_path / name for name in ("old", "young", "full"))
    for folder in (old, young, full):
        folder.mkdir()
    (full / "sound.wav").touch()
    empty, sound = tmp_path / "tmp1", tmp_path / "sound.wav"
    empty.touch()
    sound.write_bytes(b"RIFF")
    hours_ago = time.time() - 5 * 3600
    for entry in (old, full, empty, sound):
        os.utime(entry, (hours_ago, hours_ago))
    worker = Worker(PipelineLoader(Config()), Config())
    worker._sweep(tmp_path)
    assert not old.exists() and young.exists() and full.exists() and not empty.exists() and sound.exists()
    os.utime(young, (hours_ago, hours_ago))
    worker._sweep(tmp_path)  # not again within the hour
    assert young.exists()
