import math

import numpy as np
import pytest

from riffusion_space.regions import (
    Region,
    as_regions,
    check_inside,
    coverage,
    mask,
    parse_region,
    set_in,
    stretches,
)
from riffusion_space.spectrogram import SpectrogramParams

PARAMS = SpectrogramParams()
RATE, HOP, WINDOW, SCALE = 44_100, 441, 512, 8


def plan(regions, seconds):
    return stretches(as_regions(regions, PARAMS), round(seconds * RATE), PARAMS, WINDOW, SCALE)


def test_regions_of_the_command_line():
    assert parse_region("1.5-3.0") == [1.5, 3.0]
    assert parse_region(" 0-.5:200-2000 ") == [0.0, 0.5, 200.0, 2000.0]
    for text in ("", "1.5", "3-", "-1-2", "1-2:300", "1-2:", "a-b", "1 - 2", "1-2:3-4-5"):
        with pytest.raises(ValueError, match="expected a region such as 1.5-3.0"):
            parse_region(text)


def test_whole_regions_that_touch_are_one():
    assert as_regions([(2, 3), (1, 2), (2.5, 2.8)], PARAMS) == (Region(1, 3),)
    assert as_regions([(1, 2, 0, 500), (1.5, 3)], PARAMS) == (Region(1, 2, 0, 500), Region(1.5, 3))
    assert as_regions([[1, 2, None, None]], PARAMS) == (Region(1, 2),)


@pytest.mark.parametrize("regions, complaint", [
    ([], "at least one"), ("1-2", "list"), (None, "list"), (3.0, "list"), ([3.0], r"\(start, end\)"),
    (["12"], r"\(start, end\)"), ([(1,)], "start, end"), ([(1, 2, 3)], "start, end"), ([(1, "2")], "finite numbers"),
    ([(1, True)], "finite"), ([(math.nan, 2)], "finite numbers"), ([(1, math.inf)], "finite"),
    ([(1, 2, 100, None)], "finite"), ([(-1, 2)], "0 s or later, got -1 to 2 s"), ([(2, 1)], "at least 0.1 s"),
    ([(1, 1.05)], "at least 0.1 s"), ([(1, 2, -5, 500)], "within 0 to 10000 Hz"), ([(1, 2, 500, 10_001)], "10000 Hz"),
    ([(1, 2, 500, 200)], "50 Hz wide"), ([(1, 2, 500, 520)], "50 Hz wide"),
])
def test_refuses(regions, complaint):
    with pytest.raises(ValueError, match=complaint):
        as_regions(regions, PARAMS)


def test_inside_the_sound():
    check_inside([Region(4, 5.11)], 5.106)  # an end rounded to two places
    for region in (Region(4, 5.2), Region(6, 7), Region(5.05, 5.15)):
        with pytest.raises(ValueError, match="inside the sound of 5.11 s, got"):
            check_inside([region], 5.1059)


def test_only_what_regions_touch_is_looked_at():
    (one,) = plan([(100, 102)], 180)
    assert one.columns == WINDOW
    before, after = 100 - one.start / RATE, one.start / RATE + 5.12 - 102
    assert before == pytest.approx(after, abs=0.02)
    near, far = plan([(10, 11), (100, 101)], 180)
    assert near.columns == far.columns == WINDOW
    (both,) = plan([(10, 11), (12, 13)], 180)
    assert len(both.regions) == 2 and both.columns < 2 * WINDOW


@pytest.mark.parametrize("region, seconds", [
    ((0, 0.1), 0.1), ((0, 1), 1), ((0.9, 1), 1), ((0, 5.12), 5.12), ((0, 9), 9), ((175, 180), 180), ((3, 40), 44.3),
    ((5.01, 5.11), 5.11), ((3.7, 5.12), 5.1234), ((0, 60), 60.0071),
])
def test_a_stretch_holds_its_region(region, seconds):
    samples = round(seconds * RATE)
    (stretch,) = plan([region], seconds)
    assert stretch.columns >= WINDOW and stretch.columns % SCALE == 0 and stretch.start >= 0
    span = stretch.regions[0].span(RATE, samples)
    # What a picture decodes to ends at the middle of its last column.
    assert stretch.start <= span.start and span.stop <= stretch.start + (stretch.columns - 1) * HOP
    assert stretch.columns * HOP <= max(WINDOW * HOP, span.stop - span.start + (WINDOW + 2 * SCALE) * HOP)
    sound = np.random.default_rng(0).standard_normal((2, samples), np.float32)
    cut = stretch.cut(sound, HOP)
    assert cut.shape == (2, stretch.columns * HOP)
    inside = min(samples - stretch.start, cut.shape[1])
    assert np.array_equal(cut[:, :inside], sound[:, stretch.start : stretch.start + inside])


def test_coverage_adds_up():
    cells = coverage(10.3, 77.7, 16, 8, 0.5)
    assert float(cells.sum() * 8) == pytest.approx(77.7 - 10.3, abs=1e-4)
    assert coverage(3, math.inf, 5).tolist() == [0, 0, 0, 1, 1]


def test_masks_have_high_frequencies_on_top():
    (stretch,) = plan([(1, 2, 0, 500), (3, 4)], 5)
    pixels = mask(stretch, 5 * RATE, PARAMS)
    assert pixels.shape == (512, stretch.columns)
    assert pixels[-1, 150] == 1 and pixels[0, 150] == 0 and bool((pixels[:, 350] == 1).all())
    assert np.abs(pixels[:, [50, 250, 450]]).max() == 0
    top = 512 - PARAMS.hz_to_band(500)
    assert np.flatnonzero(pixels[:, 150] > 0.5)[0] == pytest.approx(top, abs=1)
    cells = mask(stretch, 5 * RATE, PARAMS, 8)
    assert cells.shape == (64, stretch.columns // 8)
    means = pixels.reshape(64, 8, -1, 8).mean((1, 3))
    np.testing.assert_allclose(cells, means, atol=0.14)


def test_a_region_at_the_end_is_free_beyond_it():
    (stretch,) = plan([(0.5, 1)], 1)
    assert bool((mask(stretch, RATE, PARAMS)[:, 60:] == 1).all())


# Joins --------------------------------------------------------------------------------------------------------------


def tone(hz, seconds=1.0, phase=0.0):
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE + phase).astype(np.float32)[None]


def test_a_join_is_continuous_and_leaves_the_outside_alone():
    old, new = tone(440), 0.5 * tone(700, phase=1)
    span = slice(10_000, 30_000)
    joined = set_in(old, new, span, Region(0, 1), RATE, (False, False))
    assert np.array_equal(joined[:, :10_000], old[:, :10_000]) and np.array_equal(joined[:, 30_000:], old[:, 30_000:])
    assert np.array_equal(joined[:, 10_900:29_100], new[:, 10_900:29_100])
    steepest = np.abs(np.diff(old)).max() + np.abs(np.diff(new)).max()
    assert np.abs(np.diff(joined)).max() < 1.5 * steepest


def test_nothing_is_joined_where_the_sound_begins_or_ends():
    old, new = tone(440), tone(700)
    assert np.array_equal(set_in(old, new, slice(0, RATE), Region(0, 1), RATE, (True, True)), new)
    short = set_in(old, new, slice(300, 500), Region(0, 1), RATE, (False, False))  # shorter than two joins
    assert np.isfinite(short).all() and np.array_equal(short[:, :300], old[:, :300])


def test_a_band_changes_and_the_others_do_not():
    old, new = tone(150) + tone(1000) + tone(6000), 0.5 * (tone(180) + tone(1300) + tone(7000))
    region = Region(0.2, 0.8, 500, 2500)
    made = set_in(old, new, region.span(RATE, RATE), region, RATE, (False, False))
    assert np.array_equal(made[:, : round(0.2 * RATE)], old[:, : round(0.2 * RATE)])
    assert np.array_equal(made[:, round(0.8 * RATE) :], old[:, round(0.8 * RATE) :])
    inside = slice(round(0.3 * RATE), round(0.7 * RATE))
    np.testing.assert_allclose(made[:, inside], (tone(150) + tone(6000) + 0.5 * tone(1300))[:, inside], atol=0.01)
