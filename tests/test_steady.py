import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from riffusion_space import Waveform, pipeline
from riffusion_space.checkpoints import Recommended
from riffusion_space.steady import beating_noise, closed_period, mixed_noise, open_period, repeated, with_bars_again
from riffusion_space.tempo import steady_beat

COLUMN_S = 0.08
FAST = {"steps": 2, "guidance": 2.0, "seed": 7}


@pytest.mark.parametrize("bpm", [40, 73.5, 97, 120, 130, 174, 240])
def test_periods_are_whole_bars_within_one_percent(bpm):
    period = open_period(64, COLUMN_S, bpm)
    bars = period.exact * COLUMN_S / (240 / bpm)
    assert bars == pytest.approx(round(bars)) and abs(period.stretch - 1) < 0.01
    for count in (3, 7, 8, 16):
        width = count * 240 / bpm / COLUMN_S
        period, times = closed_period(width, 64, COLUMN_S, bpm)
        bars = period.exact * COLUMN_S / (240 / bpm)
        assert bars == pytest.approx(round(bars)) and period.exact * times == pytest.approx(width)
        assert abs(period.stretch - 1) < 0.041  # a single bar at 240 bpm is 12.5 columns


def test_mixed_noise_keeps_its_variance_and_repeats_in_part():
    generator = torch.Generator().manual_seed(0)
    shared, free = torch.randn(8, 64, 50, generator=generator), torch.randn(8, 64, 400, generator=generator)
    mixed = mixed_noise(shared, free, 0.4)
    assert mixed.std() == pytest.approx(1, abs=0.02)
    a, b = mixed[..., :50].flatten(), mixed[..., 50:100].flatten()
    assert torch.corrcoef(torch.stack([a, b]))[0, 1] == pytest.approx(0.4, abs=0.03)
    assert torch.equal(mixed_noise(shared, free, 1.0), repeated(shared, 400))


@pytest.mark.parametrize(("columns", "width"), [(5.6, 64), (8.0, 64), (6.25, 50)])
def test_beating_noise_keeps_its_variance_and_repeats_at_each_beat(columns, width):
    generator = torch.Generator().manual_seed(0)
    beat, free = (torch.randn(8, 512, size, generator=generator) for size in (math.ceil(columns), width))
    noise = beating_noise(beat, free, columns, 0.3)
    assert noise.std() == pytest.approx(1, abs=0.02)
    alike = torch.corrcoef(noise.permute(2, 0, 1).flatten(1))
    phases = [math.floor((column + 1e-6) % columns) for column in range(width)]
    for a in range(width):
        for b in range(a):
            assert alike[a, b] == pytest.approx(0.3 if phases[a] == phases[b] else 0.0, abs=0.08)


def test_a_named_tempo_is_in_the_noise_where_the_checkpoint_recommends_it(tiny_pipe, monkeypatch):
    seen = []
    monkeypatch.setattr(pipeline, "denoise", lambda checkpoint, canvas, *rest: seen.append(canvas.noise[0])
                        or canvas.noise)
    beating = pipeline.RiffusionPipeline(replace(tiny_pipe.checkpoint, recommended=Recommended(beat=0.5)))

    def noise(pipe, prompt, **arguments):
        seen.clear()
        pipe.text2audio(prompt, **arguments, **FAST)
        return seen[-1]

    plain = noise(tiny_pipe, "rain, 120 bpm")
    assert torch.equal(plain, noise(beating, "rain")) and torch.equal(plain, noise(tiny_pipe, "rain", bpm=120))
    named = noise(beating, "rain, 120 bpm")  # half a second is 6.25 columns: the fifth beat begins at a whole one
    for found in (named, noise(beating, "rain", bpm=120)):
        assert torch.corrcoef(torch.stack([found[..., :25].flatten(), found[..., 25:50].flatten()]))[0, 1] == (
            pytest.approx(0.5, abs=0.05))
    loop = noise(beating, "rain", bpm=121, bars=2, loop=True)
    eighth = loop.shape[-1] / 8
    alike = torch.corrcoef(torch.stack([loop[..., 0].flatten(), loop[..., math.ceil(eighth)].flatten()]))[0, 1]
    assert alike > 0.3  # beats divide the loop


def test_full_steadiness_repeats_the_bars_at_the_tempo_asked_for(tiny_pipe):
    clip = tiny_pipe.text2audio("rain", duration_s=13.0, bpm=130, steadiness=1.0, **FAST)
    assert clip.audio.num_samples == 13 * 44_100 and clip.settings["steadiness"] == 1.0
    picture = np.asarray(clip.image, np.float32)[..., 0]
    period = 2 * 240 / 130 * 100  # columns of two bars
    shift = round(2 * period)
    again, other = (np.abs(picture[:, 64:400] - picture[:, 64 + by : 400 + by]).mean() for by in (shift, shift + 60))
    assert again < 0.7 * other


def test_a_free_piece_is_another_and_short_ones_are_as_they_were(tiny_pipe):
    def samples(**arguments):
        return tiny_pipe.text2audio("rain", **arguments, **FAST).audio.samples

    assert not np.array_equal(samples(duration_s=8.0), samples(duration_s=8.0, steadiness=0.0))
    assert np.array_equal(samples(duration_s=3.0), samples(duration_s=3.0, steadiness=0.0))
    with pytest.raises(ValueError, match="steadiness from 0 to 1"):
        samples(steadiness=2)


def test_a_long_loop_shares_its_bars_and_is_exact(tiny_pipe):
    clip = tiny_pipe.text2audio("rain", loop=True, bpm=110, bars=6, **FAST)
    assert clip.audio.num_samples == round(6 * 240 / 110 * 44_100)


def clicks(seconds, bpm, rate=44_100):
    """A noise of a tenth of a second on every beat, from 0.1 s on."""
    samples = np.zeros((1, round(seconds * rate)), np.float32)
    noise = np.random.default_rng(0).standard_normal(rate // 10) * np.exp(-np.arange(rate // 10) / 500)
    for beat in np.arange(0.1, seconds - 0.1, 60 / bpm):
        start = round(beat * rate)
        samples[0, start : start + len(noise)] += 0.3 * noise.astype(np.float32)
    return Waveform(samples, rate)


def test_a_steady_beat_is_found():
    beat = steady_beat(clicks(9, 128))
    assert beat.step_s == pytest.approx(60 / 128, rel=0.002) and beat.first_s == pytest.approx(0.1, abs=0.03)
    assert beat.bars_s(5.0) == pytest.approx(8 * 60 / 128, rel=0.002)
    assert beat.bars_s(1.0) == pytest.approx(2 * 60 / 128, rel=0.002)  # no room for a bar
    assert steady_beat(Waveform(np.zeros((1, 44_100), np.float32), 44_100)) is None


@pytest.mark.parametrize("at_end", [True, False])
def test_a_sound_goes_on_with_its_own_bars(at_end):
    wave, added = clicks(9, 128), 5 * 44_100
    longer = with_bars_again(wave, added, at_end, 5.12)
    assert longer.shape == (1, wave.num_samples + added)
    kept = longer[:, : wave.num_samples] if at_end else longer[:, added:]
    assert np.array_equal(kept, wave.samples)
    loud = np.flatnonzero(np.abs(longer[0]) > 0.05)
    starts = loud[np.diff(loud, prepend=-9_999) > 4_410] / 44_100
    late = (starts - starts[0] + 0.1) % (60 / 128) - 0.1
    assert len(starts) == pytest.approx(14 * 128 / 60, abs=1.5) and np.abs(late).max() < 0.02


def test_full_steadiness_goes_on_with_the_bars_and_keeps_what_was_there(tiny_pipe):
    wave = clicks(4.5, 120)
    longer = tiny_pipe.extend(wave, "rain", seconds=5.5, steadiness=1.0, **FAST)
    assert np.array_equal(longer.audio.samples[:, : wave.num_samples], wave.samples)
    assert longer.audio.num_samples == 10 * 44_100 and longer.settings["steadiness"] == 1


def test_noise_of_a_long_piece_has_variance_1_where_it_repeats_too(tiny_pipe, monkeypatch):
    """What repeats and what does not are drawn apart: added to itself, noise would have a variance of two."""
    seen = []
    monkeypatch.setattr(pipeline, "denoise",
                        lambda checkpoint, canvas, *rest: seen.append(canvas.noise) or canvas.noise)
    tiny_pipe.text2audio("rain", duration_s=12.0, bpm=93.75, **FAST)
    two = [{"name": "a", "bars": 2, "prompt": "rain"}, {"name": "b", "bars": 2, "prompt": "wind"}]
    tiny_pipe.arrange(two, bpm=93.75, **FAST)
    wide = [noise for noise in seen if noise.shape[-1] > 64]
    assert len(wide) == 2
    for noise in wide:
        for part in noise.split(32, -1):
            assert part.std() == pytest.approx(1, abs=0.1)
