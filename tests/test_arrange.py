"""Pieces of sections and morphs, with a model."""

import threading

import numpy as np
import pytest
from conftest import make_music

from riffusion_space.request import Cancelled

FAST = {"steps": 2, "guidance": 2.0, "seed": 7}
SECTIONS = [{"name": "intro", "bars": 2, "prompt": "rain", "energy": "low"},
            {"name": "drop", "bars": 3, "prompt": "wind", "energy": "very high", "transition": "cut"},
            {"name": "outro", "bars": 2, "prompt": "rain", "transition": "interpolate"}]
EDGES = [round(bars * 44_100) for bars in (0, 2, 5, 7)]  # at 240 bpm a bar is a second


@pytest.fixture(scope="module")
def piece(tiny_pipe):
    return tiny_pipe.arrange(SECTIONS, bpm=240, key="A minor", **FAST)


def test_a_piece_is_as_long_as_its_bars_and_says_how_it_was_made(piece):
    assert piece.audio.num_samples == EDGES[-1] and piece.audio.peak == pytest.approx(10 ** (-1 / 20), abs=1e-3)
    assert piece.settings["task"] == "arrange" and piece.settings["bpm"] == 240
    assert [section["bars"] for section in piece.settings["sections"]] == [2, 3, 2]
    assert piece.settings["sections"][2]["energy"] == "medium" and "audio" not in piece.settings
    assert piece.title == "rain to wind"


def test_the_energy_is_heard(piece):
    rms = [float(np.sqrt((piece.audio.samples[:, start:stop] ** 2).mean())) for start, stop in zip(EDGES, EDGES[1:])]
    assert rms[1] > 1.2 * rms[2] > 1.2 * rms[0]


def test_one_section_anew_leaves_the_others(piece, tiny_pipe):
    changed = tiny_pipe.arrange(SECTIONS, bpm=240, key="A minor", audio=piece.audio, anew=2, **FAST)
    old, new = piece.audio.samples, changed.audio.samples
    assert new.shape == old.shape
    assert np.array_equal(new[:, : EDGES[1]], old[:, : EDGES[1]])
    assert np.array_equal(new[:, EDGES[2] :], old[:, EDGES[2] :])
    inside = slice(EDGES[1], EDGES[2])
    assert not np.allclose(new[:, inside], old[:, inside], atol=0.01)
    levels = [20 * np.log10(np.sqrt((sound[:, inside] ** 2).mean())) for sound in (old, new)]
    assert levels[1] == pytest.approx(levels[0], abs=3)
    assert changed.settings["anew"] == 2 and changed.settings["audio"] == "Waveform"
    assert isinstance(changed.settings["sections"][1]["seed"], int) and "seed" not in changed.settings["sections"][0]


def test_the_last_section_of_a_stereo_piece_anew_with_its_own_seed(piece, tiny_pipe):
    stereo = piece.audio.to_stereo()
    sections = [*SECTIONS[:2], {**SECTIONS[2], "seed": 5}]
    made = tiny_pipe.arrange(sections, bpm=240, audio=stereo, anew=3, steadiness=0.0, **FAST).audio.samples
    assert made.shape == (2, EDGES[-1]) and np.array_equal(made[:, : EDGES[2]], stereo.samples[:, : EDGES[2]])
    assert not np.allclose(made[:, EDGES[2] :], stereo.samples[:, EDGES[2] :], atol=0.01)


def test_a_piece_of_another_length_is_refused(piece, tiny_pipe):
    with pytest.raises(ValueError, match="the piece of these sections, 14.00 s long, got 7.00 s"):
        tiny_pipe.arrange(SECTIONS, bpm=120, audio=piece.audio, anew=1, **FAST)


def test_cancelled_while_it_looks_for_a_beat(tiny_pipe):
    cancel = threading.Event()

    def progress(fraction, text):
        assert 0 <= fraction <= 1
        if text == "Finding a beat":
            cancel.set()

    with pytest.raises(Cancelled):
        tiny_pipe.arrange(SECTIONS, bpm=240, progress=progress, cancel=cancel, **FAST)


def test_a_morph_of_mono_and_stereo_is_as_long_as_asked(tiny_pipe):
    clip = tiny_pipe.morph(make_music(2), make_music(1, channels=2), duration_s=3.5, **FAST)
    assert clip.audio.samples.shape == (2, round(3.5 * 44_100))
    assert clip.settings["audio_a"] == clip.settings["audio_b"] == "Waveform" and clip.settings["guidance"] == 1


def test_an_empty_prompt_asks_for_nothing_and_takes_half_the_time(tiny_pipe):
    clip = tiny_pipe.text2audio("  ", seed=1, steps=2)
    assert clip.settings["guidance"] == 1.0 and clip.title == "untitled"
    assert np.array_equal(clip.audio.samples, tiny_pipe.text2audio("", seed=1, steps=2, guidance=1).audio.samples)
    song = make_music(2)
    near, far = (tiny_pipe.audio2audio(song, "", strength=strength, seed=1, steps=4).image for strength in (0.25, 1.0))
    given = np.asarray(tiny_pipe.audio2audio(song, "", strength=0, seed=1).image, int)
    distances = [np.abs(np.asarray(image, int) - given).mean() for image in (near, far)]
    assert distances[0] < distances[1]
    # With something to stay away from, or a tempo, there is something asked for.
    assert tiny_pipe.text2audio("", negative_prompt="rain", seed=1, steps=1).settings["guidance"] != 1
    assert tiny_pipe.text2audio("", bpm=120, seed=1, steps=1).settings["guidance"] != 1
