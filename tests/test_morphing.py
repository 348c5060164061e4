import numpy as np
import pytest

from riffusion_space.morphing import course
from riffusion_space.tempo import Beat

MOMENTS = np.arange(0, 12.001, 0.01)


def test_begins_as_one_and_ends_as_the_other():
    way = course(MOMENTS, 12.0, (20.0, 30.0))
    assert way.along[0] == 0 and way.along[-1] == 1 and (np.diff(way.along) >= 0).all()
    assert (way.along[MOMENTS <= 1.9] == 0).all() and (way.along[MOMENTS >= 10.1] == 1).all()
    np.testing.assert_allclose(way.first_s, MOMENTS)
    np.testing.assert_allclose(way.second_s, MOMENTS + 18)


def test_short_sounds_are_repeated():
    way = course(MOMENTS, 12.0, (5.0, 5.0))
    assert way.first_s.max() < 5 and way.second_s.min() > 0 and way.second_s[-1] == 5
    assert way.first_s[600] == pytest.approx(1.0)


@pytest.mark.parametrize("bpm_b", [97.0, 140.0, 61.0, 250.0])
def test_beats_fall_together_and_the_tempo_glides(bpm_b):
    a, b = Beat(60 / 120, 0.13), Beat(60 / bpm_b, 0.31)
    way = course(MOMENTS, 12.0, (60.0, 60.0), (a, b))
    step_b = b.step_s * 2.0 ** round(np.log2(a.step_s / b.step_s))
    phase_a = (way.first_s - a.first_s) / a.step_s
    phase_b = (way.second_s - b.first_s % step_b) / step_b
    apart = (phase_a - phase_b + 0.5) % 1 - 0.5
    assert np.abs(apart).max() < 1e-3
    # At the ends each is read at its own speed, and in between without a jump.
    assert np.diff(way.first_s)[:150] == pytest.approx(0.01, rel=1e-6)
    assert np.diff(way.second_s)[-150:] == pytest.approx(0.01, rel=1e-6)
    assert way.second_s[-1] == pytest.approx(60.0)
    speed = np.diff(way.first_s) / 0.01
    assert speed.min() > 0.4 and np.abs(np.diff(speed)).max() < 0.02
