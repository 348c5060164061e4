"""The measures of benchmarks/adherence.py and its judge, on sounds whose answer is known."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

import adherence
import judge as judges

from riffusion_space.audio import Waveform
from riffusion_space.training.compose import compose_solo
from riffusion_space.training.corpus import CLIP_SAMPLES, analyse
from riffusion_space.training.render import Renderer
from riffusion_space.training.sounds import INSTRUMENT, INSTRUMENTS


@pytest.mark.parametrize("bpm", [90, 120, 150])
def test_tempo_of_clicks(bpm):
    sound, rng = np.zeros((1, 5 * 44_100), np.float32), np.random.default_rng(0)
    for start in range(0, sound.shape[1] - 2000, round(44_100 * 60 / bpm)):
        sound[0, start:start + 2000] = rng.standard_normal(2000) * np.exp(-np.arange(2000) / 300)
    wave = Waveform(sound, 44_100)
    assert adherence.tempo_is(wave, bpm) and adherence.tempo_is(wave, 2 * bpm)
    assert not adherence.tempo_is(wave, bpm * 1.25)


def test_frechet_distance_of_known_gaussians():
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 20_000, 3))
    assert adherence.frechet_distance(one, other) < 0.01
    assert adherence.frechet_distance(one, 2 * other + 3) == pytest.approx(3 * 9 + 3 * 1, rel=0.05)


def test_a_prompt_names_its_classes():
    names = [judges.CLASSES[index].name for index in adherence.named("steel drums over deep house")]
    assert names == ["steel drums", "house"]


def test_the_judge_tells_a_harp_from_a_tuba():
    judge, renderer = judges.load(), Renderer()
    wanted = [INSTRUMENTS.index(INSTRUMENT[name]) for name in ("harp", "tuba")]
    clips = [renderer.render(compose_solo(random.Random(i), INSTRUMENTS[i], 5.11), CLIP_SAMPLES, i) for i in wanted]
    assert judge.name(np.stack([analyse(clip) for clip in clips]), wanted).tolist() == wanted
