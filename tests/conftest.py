"""What several test modules share: a tiny checkpoint, and a music-like sound."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from tiny import write_tiny_checkpoint

from riffusion_space.audio import Waveform
from riffusion_space.config import Config
from riffusion_space.pipeline import RiffusionPipeline


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_checkpoint(folder, legacy=False)
    return folder


@pytest.fixture(scope="session")
def tiny_pipe(tiny_folder):
    """A pipeline on random weights: fast, and deterministic like any other."""
    return RiffusionPipeline.from_pretrained(str(tiny_folder), "cpu", config=Config(max_seconds=30))


def make_music(seconds: float, channels: int = 1, rate: int = 44_100, seed: int = 0) -> Waveform:
    """Plucked notes with harmonics over soft noise; left and right differ."""
    rng = np.random.default_rng(seed)
    count = round(seconds * rate)
    time = np.arange(count) / rate
    samples = np.zeros((channels, count))
    for channel in range(channels):
        for start in np.arange(0, seconds, 0.25):
            pitch = 110 * 2 ** (rng.integers(0, 24) / 12)
            age = np.clip(time - start, 0, None)
            envelope = np.exp(-6 * age) * (time >= start)
            for harmonic in range(1, 6):
                samples[channel] += envelope * np.sin(2 * np.pi * pitch * harmonic * age) / harmonic
        samples[channel] += 0.01 * rng.standard_normal(count)
    return Waveform((0.5 * samples / np.abs(samples).max()).astype(np.float32), rate)


def write_pyav(wave: Waveform, path: Path, codec: str) -> Path:
    """What a phone's or browser's recorder writes."""
    frame = av.AudioFrame.from_ndarray(wave.samples, format="fltp", layout="mono")
    frame.sample_rate = wave.sample_rate
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=wave.sample_rate, layout="mono")
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path
