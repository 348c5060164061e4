"""Repainting: what is kept, how the joins are, how loud it is; with a painter that is known, then with a model."""

import json
import math
import threading

import numpy as np
import pytest
import torch
from conftest import make_music

from riffusion_space import inpainting
from riffusion_space.audio import Waveform, write_audio
from riffusion_space.clip import read_settings
from riffusion_space.inpainting import repaint
from riffusion_space.mel import mel_amplitudes
from riffusion_space.regions import as_regions
from riffusion_space.request import Cancelled, Request
from riffusion_space.schedulers import SCHEDULERS
from riffusion_space.spectrogram import SpectrogramParams

PARAMS = SpectrogramParams()
RATE = 44_100
FAST = {"steps": 1, "guidance": 1.0, "seed": 7}


def painted_by(paint, wave, regions, strength=1.0):
    return repaint(wave, as_regions(regions, PARAMS), strength, PARAMS, 512, 8,
                   lambda pixels, cells, number, request: paint(pixels), 7, Request()).samples


def kept(made, given, *regions):
    """Whether all outside the regions is the same, sample for sample."""
    outside = np.ones(given.shape[1], bool)
    for start, stop, *_ in regions:
        outside[round(start * RATE) : round(stop * RATE)] = False
    return made.shape == given.shape and np.array_equal(made[:, outside], given[:, outside])


def rms(samples):
    return float(np.sqrt((samples.astype(np.float64) ** 2).mean()))


def columns(samples):
    """Log mel spectrogram, (bands, columns)."""
    return mel_amplitudes(torch.from_numpy(samples[:1].copy()), PARAMS)[0].clamp(min=0.1).log().numpy()


def flux(samples):
    """How much the spectrum changes from one column to the next."""
    return np.abs(np.diff(columns(samples))).mean(0)


# With a painter that gives back what it is shown ----------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
def test_what_was_there_comes_back_without_a_join(channels):
    music = make_music(6.0, channels)
    made = painted_by(lambda pixels: pixels, music, [(2.0, 3.1)])
    assert kept(made, music.samples, (2.0, 3.1))
    inside = slice(2 * RATE, round(3.1 * RATE))
    assert rms(made[:, inside]) == pytest.approx(rms(music.samples[:, inside]), rel=0.15)
    # At the joins neither samples nor spectrum change more than they do within the sound.
    steps = np.abs(np.diff(made)).max(0)
    assert max(steps[2 * RATE - 1], steps[round(3.1 * RATE) - 1]) < np.quantile(np.abs(np.diff(music.samples)), 0.999)
    changes, usual = flux(made), flux(music.samples)
    for join in (200, 310):
        assert changes[join - 6 : join + 6].max() < 1.2 * usual.max()
    assert np.abs(columns(made)[:400] - columns(music.samples)[:400])[:, 190:320].mean() < 0.35


def test_a_tone_goes_through_the_region_in_phase():
    time = np.arange(4 * RATE) / RATE
    tone = Waveform((0.5 * np.sin(2 * np.pi * 440 * time) + 0.2 * np.sin(2 * np.pi * 1320 * time))[None], RATE)
    made = painted_by(lambda pixels: pixels, tone, [(1.5, 2.0)])
    join = round(1.5 * RATE)
    level = [rms(made[:, start : start + 2205]) for start in range(join - 4410, join + 8820, 2205)]
    assert min(level) > 0.85 * max(level)  # out of phase it would dip


@pytest.mark.parametrize("loudness", [0.02, 0.3, 3.0])
def test_new_sound_is_as_loud_as_its_surroundings(loudness):
    music = make_music(6.0)
    music = Waveform(0.3 * music.samples, RATE)
    soft = music.samples.copy()
    soft[:, 2 * RATE : 3 * RATE] *= loudness  # what was there does not count
    made = painted_by(lambda pixels: 255 - (255 - pixels) // 2 * 2, Waveform(soft, RATE), [(2.0, 3.0)])
    around = rms(np.concatenate([soft[:, RATE : 2 * RATE], soft[:, 3 * RATE : 4 * RATE]], 1))
    levels = [rms(made[:, start : start + RATE // 4]) / around for start in range(2 * RATE, 3 * RATE, RATE // 4)]
    if loudness == 0.02:  # at most 12 dB: near silence is not blown up
        assert max(levels) < 0.3
    else:
        assert levels == pytest.approx([1] * 4, rel=0.35)


def test_only_a_band_changes():
    music = make_music(5.5, channels=2)
    noise = torch.Generator().manual_seed(0)
    made = painted_by(lambda pixels: torch.randint_like(pixels, 60, 200, generator=noise), music, [(2, 3, 800, 3000)])
    assert kept(made, music.samples, (2, 3))
    difference = (made - music.samples)[:, 2 * RATE : 3 * RATE]
    power = np.abs(np.fft.rfft(difference * np.hanning(RATE))) ** 2  # a bin is a hertz
    inside = power[:, 760:3160].sum()
    assert inside > 0 and power[:, :700].sum() + power[:, 3300:].sum() < 1e-4 * inside


def test_sound_amid_silence_has_a_level():
    noise = torch.Generator().manual_seed(0)

    def paint(pixels):
        return torch.randint_like(pixels, 60, 200, generator=noise)

    silence = Waveform(np.zeros((1, 3 * RATE), np.float32), RATE)
    made = painted_by(paint, silence, [(1, 2)])
    assert kept(made, silence.samples, (1, 2)) and np.abs(made).max() == pytest.approx(0.891, abs=0.01)
    quiet = np.zeros((1, 14 * RATE), np.float32)
    quiet[:, : 4 * RATE] = make_music(4.0).samples
    quiet *= 0.1
    made = painted_by(paint, Waveform(quiet, RATE), [(11, 12)])  # all around is silent, the rest is not
    assert rms(made[:, 11 * RATE : 12 * RATE]) == pytest.approx(rms(quiet[:, : 4 * RATE]), rel=0.3)


def test_nothing_gets_beyond_full_scale():
    loud = Waveform(make_music(4.0).samples * 2, RATE)
    made = painted_by(lambda pixels: pixels // 2, loud, [(1, 2)])
    assert kept(made, loud.samples, (1, 2)) and np.abs(made).max() <= 1.1


def test_what_is_turned_down_does_not_click_at_its_ends(monkeypatch):
    """New sound that peaks beyond full scale for an instant: the join makes up for its lower level on both sides."""
    time = np.arange(4 * RATE) / RATE
    tone = np.sin(2 * np.pi * 440 * time)[None].astype(np.float32)

    def found(mel, sound, *rest):
        spiked = sound.copy()
        spiked[:, sound.shape[1] // 2] = 1.6
        return spiked

    monkeypatch.setattr(inpainting, "_sound", found)
    made = painted_by(lambda pixels: pixels, Waveform(tone, RATE), [(1.5, 2.5)])
    for border in (round(1.5 * RATE), round(2.5 * RATE)):
        steps = np.abs(np.diff(made[0, border - 20 : border + 20]))
        assert steps.max() < 1.5 * np.abs(np.diff(tone)).max()


# With a model ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds, channels, regions", [
    (3.0, 1, [(1.0, 1.1)]), (6.3, 2, [(0, 0.5), (5.8, 6.3)]), (0.5, 1, [(0, 0.5)]), (7.0, 1, [(1, 5.5)]),
    (3.0, 2, [(1, 1.5, 0, 400), (1.2, 2, 1000, 9000), (2.5, 2.8)]),
])
def test_outside_the_regions_all_is_kept(tiny_pipe, seconds, channels, regions):
    music = make_music(seconds, channels)
    clip = tiny_pipe.inpaint(music, "flute", regions, **FAST)
    assert kept(clip.audio.samples, music.samples, *regions)
    assert clip.audio.sample_rate == RATE and clip.image.size == (1 + music.num_samples // 441, 512)
    for start, stop, *_ in regions:
        part = slice(round(start * RATE), round(stop * RATE))
        assert not np.array_equal(clip.audio.samples[:, part], music.samples[:, part])


def test_another_rate_is_resampled_once(tiny_pipe):
    music = make_music(3.0, rate=22_050)
    clip = tiny_pipe.inpaint(music, "flute", [(1, 2)], **FAST)
    assert kept(clip.audio.samples, music.resampled(RATE).samples, (1, 2))


def test_the_same_twice_and_by_its_settings(tiny_pipe, tmp_path):
    music = make_music(3.0)
    arguments = {"prompt": "flute", "regions": [(1, 2), (2.2, 2.8, 100, 1000)], "negative_prompt": "wind", **FAST,
                 "guidance": 2.0}
    clip = tiny_pipe.inpaint(music, **arguments)
    again = tiny_pipe.inpaint(music, **arguments)
    assert np.array_equal(clip.audio.samples, again.audio.samples)
    settings = read_settings(clip.save(tmp_path / "clip.flac"))
    assert settings == json.loads(json.dumps(clip.settings)) and settings["regions"][1] == [2.2, 2.8, 100, 1000]
    for other in ({"seed": 8}, {"prompt": "drums"}, {"negative_prompt": ""}, {"strength": 0.6, "steps": 2}):
        assert not np.array_equal(clip.audio.samples, tiny_pipe.inpaint(music, **arguments | other).audio.samples)


def test_what_is_in_the_region_does_not_count_at_full_strength(tiny_pipe):
    one, two = make_music(6.0, seed=1).samples, make_music(6.0, seed=1).samples.copy()
    # As far as the picture's cells beside the region do not see it.
    two[:, round(2.1 * RATE) : round(2.9 * RATE)] = 0
    makes = [tiny_pipe.inpaint(Waveform(samples, RATE), "flute", [(1.9, 3.1)], **FAST).audio.samples[:, 2 * RATE :]
             for samples in (one, two)]
    inside = slice(0, RATE)
    assert rms((makes[0] - makes[1])[:, inside]) < 0.8 * rms(makes[0][:, inside])


def test_strength_0_keeps_everything(tiny_pipe):
    music = make_music(3.0, channels=2)
    clip = tiny_pipe.inpaint(music, "flute", [(1, 2)], strength=0, **FAST)
    assert np.array_equal(clip.audio.samples, music.samples)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_paints(tiny_pipe, name):
    music = make_music(2.0)
    clip = tiny_pipe.inpaint(music, "flute", [(1, 1.5)], scheduler=name, **{**FAST, "steps": 3})
    assert kept(clip.audio.samples, music.samples, (1, 1.5)) and np.isfinite(clip.audio.samples).all()


def test_time_is_spent_on_the_regions_alone(tiny_pipe):
    seen = []
    long = Waveform(np.tile(make_music(2.0).samples, 14), RATE)
    tiny_pipe.inpaint(long, "flute", [(3, 4), (20, 21)], **FAST,
                      progress=lambda fraction, text: seen.append((fraction, text)))
    assert [text for _, text in seen if text.startswith("Reading")] == ["Reading the input"] * 2  # one window each
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1)


def test_cancel_leaves_the_device_free(tiny_pipe):
    cancel = threading.Event()

    def progress(fraction, text):
        if text.startswith("Step 2 "):
            cancel.set()

    with pytest.raises(Cancelled):
        tiny_pipe.inpaint(make_music(3.0), "flute", [(1, 2)], steps=50, seed=1, progress=progress, cancel=cancel)
    tiny_pipe.extend(make_music(1.0), "flute", 1, **FAST)


@pytest.mark.parametrize("arguments, complaint", [
    ({"regions": [(1, 4)]}, "inside the sound of 3.00 s, got 1 to 4 s"), ({"regions": [(5, 6)]}, "inside the sound"),
    ({"regions": [(2, 1)]}, "at least 0.1 s"), ({"regions": [(math.nan, 1)]}, "finite"), ({"regions": []}, "one"),
    ({"regions": [(1, 2, 0, 12_000)]}, "10000 Hz"), ({"regions": None}, "list"), ({"prompt": None}, "prompt"),
    ({"strength": 1.5}, "strength"), ({"steps": 0}, "steps"), ({"audio": None}, "audio"),
])
def test_inpaint_refuses(tiny_pipe, arguments, complaint):
    given = {"audio": make_music(3.0), "prompt": "flute", "regions": [(1, 2)], **arguments}
    with pytest.raises(ValueError, match=complaint):
        tiny_pipe.inpaint(**given)


# Extend ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("seconds, channels, more", [(3.0, 2, 1.0), (0.3, 1, 1.0), (1.0, 1, 4.77)])
def test_the_input_is_in_the_longer_sound(tiny_pipe, side, seconds, channels, more):
    music = make_music(seconds, channels)
    made = tiny_pipe.extend(music, "flute", more, side, **FAST).audio.samples
    added = round(more * RATE)
    assert made.shape == (channels, music.num_samples + added)
    old, new = (made[:, :-added], made[:, -added:]) if side == "right" else (made[:, added:], made[:, :added])
    assert np.array_equal(old, music.samples)
    assert rms(new) > 0 and np.isfinite(new).all()
    outer = new[:, -1] if side == "right" else new[:, 0]
    assert np.abs(outer).max() < 1e-3  # fades, so that it does not click


@pytest.mark.parametrize("side", ["right", "left"])
def test_level_and_samples_do_not_jump_where_it_goes_on(tiny_pipe, side):
    music = make_music(5.0)
    made = tiny_pipe.extend(music, "flute", 2.5, side, **FAST).audio.samples
    join = music.num_samples if side == "right" else round(2.5 * RATE)
    assert np.abs(np.diff(made))[0, join - 1] < np.quantile(np.abs(np.diff(music.samples)), 0.99)
    new = made[:, join:] if side == "right" else made[:, :join]
    assert 0.5 < rms(new) / rms(music.samples) < 2


def test_extension_is_the_same_twice_and_reads_files(tiny_pipe, tmp_path):
    song = write_audio(make_music(2.0), tmp_path / "song.flac")
    one, two = (tiny_pipe.extend(song, "flute", 1.5, **FAST) for _ in range(2))
    assert np.array_equal(one.audio.samples, two.audio.samples)
    assert one.settings["audio"] == "song.flac" and one.settings["side"] == "right" and one.settings["seconds"] == 1.5


def test_silence_goes_on_as_something(tiny_pipe):
    silence = Waveform(np.zeros((2, RATE), np.float32), RATE)
    made = tiny_pipe.extend(silence, "flute", 1.0, **FAST).audio.samples
    assert np.array_equal(made[:, :RATE], silence.samples) and 0 < np.abs(made).max() <= 1


@pytest.mark.parametrize("arguments, complaint", [
    ({"seconds": 0}, "seconds from 0.1 to 30"), ({"seconds": math.nan}, "seconds"), ({"seconds": "3"}, "seconds"),
    ({"seconds": 28.5}, "at most 30 s in all, got 2.00 s of sound and 28.5 s more"),
    ({"side": "up"}, "side to be right or left"), ({"side": None}, "side"), ({"prompt": None}, "prompt"),
    ({"seconds": None}, "seconds"),
])
def test_extend_refuses(tiny_pipe, arguments, complaint):
    given = {"audio": make_music(2.0), "prompt": "flute", "seconds": 1.0, **arguments}
    with pytest.raises(ValueError, match=complaint):
        tiny_pipe.extend(**given)
