import numpy as np
import pytest

from riffusion_space import tempo
from riffusion_space.audio import Waveform
from riffusion_space.tempo import key_name, measure, piece_samples, steady_beat, with_tempo

RATE = 44_100


def clicks(bpm: float, seconds: float = 12.0) -> Waveform:
    """A drum machine: a thump on every beat, a tick between."""
    time = np.arange(round(seconds * RATE)) / RATE
    age = time % (60 / bpm)
    between = (time + 30 / bpm) % (60 / bpm)
    noise = np.random.default_rng(0).standard_normal(len(time))
    sound = np.sin(2 * np.pi * 60 * age) * np.exp(-20 * age) + 0.2 * noise * np.exp(-80 * between)
    return Waveform((0.5 * sound / np.abs(sound).max())[None].astype(np.float32), RATE)


def chords(*chords_: tuple[int, ...]) -> Waveform:
    """A second of each chord, MIDI keys with harmonics."""
    time = np.arange(RATE) / RATE
    parts = [sum(np.sin(2 * np.pi * 440 * 2 ** ((key - 69) / 12) * h * time) / h for key in chord for h in (1, 2, 3))
             for chord in chords_]
    sound = np.concatenate(parts)
    return Waveform((0.5 * sound / np.abs(sound).max())[None].astype(np.float32), RATE)


@pytest.mark.parametrize("bpm", [73, 97.3, 120, 131.4, 170])
def test_the_tempo_is_found_within_half_a_percent(bpm):
    assert measure(clicks(bpm), bpm).bpm == pytest.approx(bpm, rel=0.005)


def test_the_key_is_found():
    c, f, g, am, dm, e = (60, 64, 67), (65, 69, 72), (67, 71, 74), (57, 60, 64), (62, 65, 69), (64, 68, 71)
    assert measure(chords(c, f, g, c)).key == "C major"
    assert measure(chords(am, dm, e, am)).key == "A minor"


def test_silence_has_neither():
    silence = measure(Waveform(np.zeros((1, RATE), np.float32), RATE))
    assert silence.bpm is None and silence.key is None


def test_prompts_get_the_words_that_they_lack():
    assert with_tempo("techno", 130) == "techno, 130 bpm"
    assert with_tempo("techno at 140 BPM", 130, "a minor") == "techno at 140 BPM, in A minor"
    assert with_tempo("sad piano in C minor", None, "D") == "sad piano in C minor"
    assert with_tempo("rain") == "rain"
    assert with_tempo("sad piano in a minor key", None, "C minor") == "sad piano in a minor key, in C minor"


@pytest.mark.parametrize("text", ["H", "", "A flat sharp", "minor", None, 3])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(ValueError, match="expected a key such as"):
        key_name(text)


def test_lengths():
    assert piece_samples(5.0, RATE, 120, 4) == 8 * RATE
    assert piece_samples(5.0, RATE, 120) == 5 * RATE
    assert piece_samples(0.5, RATE, 120, loop=True) == 2 * RATE
    assert piece_samples(180, RATE, 41, loop=True) / RATE == pytest.approx(31 * 240 / 41)
    assert piece_samples(180, RATE, 41, loop=True, longest_s=180) / RATE == pytest.approx(30 * 240 / 41)
    assert piece_samples(180, RATE, 120, loop=True, longest_s=180) == 180 * RATE
    with pytest.raises(ValueError, match="expected bpm beside bars"):
        piece_samples(5.0, RATE, bars=4)


def test_beats_of_two_lengths_are_no_steady_beat(monkeypatch):
    monkeypatch.setattr(tempo, "beats_of", lambda *rest: np.array([0, 0.3, 0.6, 0.9, 1.5, 2.1, 2.7]))
    assert steady_beat(Waveform(np.ones((1, 3 * RATE), np.float32), RATE)) is None
