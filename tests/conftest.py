"""What several test modules share: a tiny checkpoint, and a music-like sound."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from browser import DESKTOP, PHONE, chromium, opened
from tiny import write_tiny_checkpoint

from riffusion_space.audio import Waveform
from riffusion_space.config import Config
from riffusion_space.pipeline import RiffusionPipeline
from riffusion_space.training import autoencoder, corpus, diffusion, text
from riffusion_space.training.export import export

CPU = torch.device("cpu")
collect_ignore = ["pretended_gpu.py"]  # a program
NEED_TRAINED = {"tests/test_distill.py", "tests/test_training.py"}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With ``--dist loadfile``, a worker gets whole files, and one gets all that need ``trained``, to train once."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "trained" if file in NEED_TRAINED else file

    return Scheduling(config, log)


def pytest_collection_modifyitems(items):
    """Whether ``NEED_TRAINED`` tells the truth."""
    need = {item.nodeid.partition("::")[0] for item in items if "shards" in getattr(item, "fixturenames", ())}
    assert need <= NEED_TRAINED, f"name them in NEED_TRAINED: {need - NEED_TRAINED}"


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_checkpoint(folder, legacy=False)
    return folder


@pytest.fixture(scope="session")
def tiny_pipe(tiny_folder):
    """A pipeline on random weights: fast, deterministic like any other, and as exact on any CPU."""
    return RiffusionPipeline.from_pretrained(str(tiny_folder), "cpu", torch.float32, config=Config(max_seconds=30))


def wait_until(condition: Callable[[], bool], limit_s: float = 60) -> None:
    """Wait for what another thread or process does."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


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


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """Twelve rendered clips in the corpus's format."""
    folder = tmp_path_factory.mktemp("corpus")
    first = corpus.HELD_OUT_SEEDS
    corpus.write_shard(folder / f"shard_{first:07d}.npy", *corpus.play(range(first, first + 12)))
    return folder


@pytest.fixture(scope="session")
def trained(shards, tmp_path_factory):
    """Every stage for a few steps, interrupted and resumed; exported as a checkpoint."""
    data = tmp_path_factory.mktemp("data")
    autoencoder.train(shards, data / "autoencoder", 1, 1, 6e-4, CPU)
    model = autoencoder.train(shards, data / "autoencoder", 3, 1, 6e-4, CPU)
    model.save_pretrained(data / "autoencoder/vae")
    for steps in (1, 2):
        text.train(data / "text", steps, 4, 1e-3, CPU)
    for steps in (1, 2):
        diffusion.train(shards, data / "autoencoder/vae", data / "text", data / "diffusion", steps, 1, 4e-4, CPU)
    export(data, data / "checkpoint")
    return data


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser):
    yield from opened(browser, DESKTOP)


@pytest.fixture
def phone(browser):
    yield from opened(browser, PHONE)
