import json
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_music, wait_until

from riffusion_space import denoise, pipeline
from riffusion_space.audio import Waveform
from riffusion_space.clip import read_settings
from riffusion_space.codec import decode, encode
from riffusion_space.config import Config
from riffusion_space.pipeline import RiffusionPipeline, slerp
from riffusion_space.request import Cancelled
from riffusion_space.schedulers import SCHEDULERS

FAST = {"steps": 2, "guidance": 2.0, "seed": 7}


def same(a, b):
    return np.array_equal(a.audio.samples, b.audio.samples)


def distance(a, b, columns):
    a, b = (np.asarray(clip.image, np.float32)[:, columns] for clip in (a, b))
    return np.abs(a - b).mean()


# text2audio ---------------------------------------------------------------------------------------------------------


def test_a_clip_is_511_columns_long_and_the_same_twice(tiny_pipe):
    clip = tiny_pipe.text2audio("church bells", **FAST)
    assert clip.audio.samples.shape == (1, 225_351) and clip.image.size == (512, 512)
    assert clip.audio.peak == pytest.approx(0.891, abs=0.01)
    assert same(clip, tiny_pipe.text2audio("church bells", **FAST))
    assert not same(clip, tiny_pipe.text2audio("church bells", **{**FAST, "seed": 8}))


def test_the_image_decodes_to_the_sound(tiny_pipe):
    clip = tiny_pipe.text2audio("church bells", **FAST)
    again = decode(clip.image, seed=7).samples[:, : clip.audio.num_samples]
    error = (again - clip.audio.samples)[:, :-500]  # without the fade at the end
    assert np.sqrt((error**2).mean()) < 0.01 * np.sqrt((clip.audio.samples**2).mean())


@pytest.mark.parametrize("seconds", [1.0, 3.3, 12.0])
def test_any_duration(tiny_pipe, seconds):
    clip = tiny_pipe.text2audio("rain", duration_s=seconds, **FAST)
    assert clip.audio.num_samples == round(seconds * 44_100)


def test_the_unet_sees_windows_of_one_width_whatever_the_duration(tiny_pipe):
    """So that nothing is compiled or tuned anew for an odd one."""
    widths = set()
    watch = tiny_pipe.checkpoint.unet.register_forward_pre_hook(
        lambda _, inputs: widths.add(inputs[0].shape[-1]))
    try:
        for seconds in (1.0, 3.3, 5.11, 7.7, 12.0):
            tiny_pipe.text2audio("rain", duration_s=seconds, **FAST)
        music = make_music(3.7)
        tiny_pipe.audio2audio(music, "flute", **FAST)
        tiny_pipe.inpaint(music, "flute", regions=[(1.0, 1.6)], **FAST)
        tiny_pipe.extend(music, "flute", seconds=2.5, **FAST)
    finally:
        watch.remove()
    assert widths == {64}


def test_a_drawn_seed_is_reported_and_makes_it_again(tiny_pipe):
    clip = tiny_pipe.text2audio("rain", steps=1)
    seed = clip.settings["seed"]
    assert 0 <= seed < 2**32 and same(clip, tiny_pipe.text2audio("rain", steps=1, seed=seed))


def test_settings_make_it_again(tiny_pipe, tmp_path):
    clip = tiny_pipe.text2audio("rain", "wind", duration_s=2.0, **FAST)
    settings = read_settings(clip.save(tmp_path / clip.file_name(".flac")))
    assert settings == json.loads(json.dumps(clip.settings))
    assert settings["revision"] == tiny_pipe.checkpoint.revision
    again = {k: v for k, v in settings.items() if k not in ("task", "checkpoint", "revision", "dtype", "version")}
    assert same(clip, tiny_pipe.text2audio(**again))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_makes_its_own_sound(tiny_pipe, name):
    clip = tiny_pipe.text2audio("rain", scheduler=name, **{**FAST, "steps": 4})
    assert np.isfinite(clip.audio.samples).all() and clip.audio.peak > 0
    assert clip.settings["scheduler"] == name


def test_negative_prompt_and_guidance_count(tiny_pipe):
    plain = tiny_pipe.text2audio("rain", **FAST)
    assert not same(plain, tiny_pipe.text2audio("rain", "wind", **FAST))
    assert not same(plain, tiny_pipe.text2audio("rain", **{**FAST, "guidance": 6.0}))
    alone = {**FAST, "guidance": 1.0}
    assert same(tiny_pipe.text2audio("rain", "wind", **alone), tiny_pipe.text2audio("rain", **alone))


def test_seed_image_strength(tiny_pipe):
    kept = tiny_pipe.text2audio("rain", seed_image="beat", strength=0, **FAST)
    other = tiny_pipe.text2audio("snow", seed_image="beat", strength=0, **{**FAST, "guidance": 9.0})
    assert same(kept, other)  # strength 0 keeps the seed image whatever the prompt
    ignored = tiny_pipe.text2audio("rain", seed_image="beat", strength=1, **FAST)
    assert same(ignored, tiny_pipe.text2audio("rain", **FAST))
    assert not same(kept, tiny_pipe.text2audio("rain", seed_image="beat", strength=0.6, **{**FAST, "steps": 4}))


def test_requests_at_once_get_what_they_would_get_alone(tiny_pipe):
    alone = [tiny_pipe.text2audio("rain", steps=3, seed=seed) for seed in (1, 2, 3)]
    together: dict[int, object] = {}
    threads = [threading.Thread(target=lambda s=s: together.update({s: tiny_pipe.text2audio("rain", steps=3, seed=s)}))
               for s in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(clip, together[seed]) for seed, clip in zip((1, 2, 3), alone))


def test_pipelines_on_one_device_take_turns(tiny_pipe, monkeypatch):
    inside, most = [], []

    def watched(*arguments, **options):
        inside.append(1)
        most.append(len(inside))
        if len(most) == 1:  # now the others could overlap, if they did not wait
            wait_until(lambda: len(pipes[0]._turn._lines[False]) == 2 or len(most) > 1)
        result = denoise.denoise(*arguments, **options)
        inside.pop()
        return result

    monkeypatch.setattr(pipeline, "denoise", watched)
    pipes = [RiffusionPipeline(tiny_pipe.checkpoint, tiny_pipe.config) for _ in range(3)]
    threads = [threading.Thread(target=pipe.text2audio, args=("rain",), kwargs=FAST) for pipe in pipes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]


def test_recommended_steps_stay_within_the_limit(tiny_pipe):
    pipe = RiffusionPipeline(tiny_pipe.checkpoint, Config(max_steps=2))
    assert pipe.text2audio("rain", duration_s=1.0).settings["steps"] == 2


def test_cancel_within_a_step_leaves_the_device_free(tiny_pipe):
    cancel = threading.Event()
    seen = []

    def progress(fraction, text):
        seen.append(text)
        if text.startswith("Step 2 "):
            cancel.set()

    with pytest.raises(Cancelled):
        tiny_pipe.text2audio("rain", steps=50, seed=1, progress=progress, cancel=cancel)
    assert seen[-1] == "Step 2 of 50"
    tiny_pipe.text2audio("rain", **FAST)


def test_progress_rises_to_the_end(tiny_pipe):
    fractions = []
    tiny_pipe.text2audio("rain", **FAST, progress=lambda fraction, text: fractions.append(fraction))
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1.0)


# audio2audio --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds, channels, rate", [
    (3.0, 1, 16_000), (5.11, 1, 44_100), (13.37, 2, 48_000), (0.05, 1, 44_100),
])
def test_restyled_to_the_sample(tiny_pipe, seconds, channels, rate):
    music = make_music(seconds, channels, rate)
    clip = tiny_pipe.audio2audio(music, "flute", **FAST)
    expected = music.resampled(44_100).num_samples
    assert clip.audio.samples.shape == (channels, expected)
    assert np.isfinite(clip.audio.samples).all() and clip.audio.peak <= 1


def test_strength_0_is_the_codecs_round_trip(tiny_pipe):
    music = make_music(4.0, channels=2)
    clip = tiny_pipe.audio2audio(music, "flute", strength=0, seed=7)
    padding = -music.num_samples % 441 + 441
    trip = decode(encode(Waveform(np.pad(music.samples, ((0, 0), (0, padding))), 44_100)), seed=7)
    np.testing.assert_allclose(clip.audio.samples, trip.samples[:, : music.num_samples], atol=1e-5)


def test_strength_1_ignores_the_input(tiny_pipe):
    level = {"strength": 1.0, **FAST}
    one = tiny_pipe.audio2audio(make_music(3.0, seed=1), "flute", **level)
    two = tiny_pipe.audio2audio(make_music(3.0, seed=2), "flute", **level)
    assert same(one, two) and one.audio.peak == pytest.approx(0.891, abs=0.01)
    silence = Waveform(np.zeros((1, one.audio.num_samples), np.float32), 44_100)
    assert same(one, tiny_pipe.audio2audio(silence, "flute", **level))


def test_the_tail_is_kept_and_silence_stays_silent(tiny_pipe):
    silence = Waveform(np.zeros((1, 100_000), np.float32), 44_100)
    assert tiny_pipe.audio2audio(silence, "flute", **FAST).audio.peak == 0
    music = make_music(11.0)
    restyled = tiny_pipe.audio2audio(music, "flute", strength=0, seed=1).audio.samples
    tail = slice(-22_050, None)
    assert np.sqrt((restyled[:, tail] ** 2).mean()) > 0.5 * np.sqrt((music.samples[:, tail] ** 2).mean())


# interpolate --------------------------------------------------------------------------------------------------------


def test_interpolation_begins_with_a_and_ends_with_b(tiny_pipe):
    clip = tiny_pipe.interpolate("rain", "wind", clips=3, **FAST)
    assert clip.audio.num_samples == (3 * 512 - 1) * 441 and clip.image.size == (3 * 512, 512)
    assert not same(clip, tiny_pipe.interpolate("rain", "wind", clips=3, negative_prompt="noise", **FAST))
    rain, wind = (tiny_pipe.interpolate(prompt, prompt, clips=3, **FAST) for prompt in ("rain", "wind"))
    start, end = slice(0, 200), slice(-200, None)
    assert distance(clip, rain, start) < 0.5 * distance(clip, wind, start)
    assert distance(clip, wind, end) < 0.5 * distance(clip, rain, end)


def test_seed_to_seed_and_guidance_and_strength_paths(tiny_pipe):
    base = tiny_pipe.interpolate("rain", clips=2, seed_b=8, **FAST)
    assert not same(base, tiny_pipe.interpolate("rain", clips=2, seed_b=9, **FAST))
    assert not same(base, tiny_pipe.interpolate("rain", clips=2, seed_b=8, guidance_b=9.0, **FAST))
    loop = {"seed_image": "beat", "seed_b": 8, "clips": 2, **FAST, "steps": 6}
    assert not same(tiny_pipe.interpolate("rain", strength=0.5, strength_b=1.0, **loop),
                    tiny_pipe.interpolate("rain", strength=0.5, **loop))


def test_strength_0_keeps_the_seed_image_throughout(tiny_pipe):
    kept = {"seed_image": "beat", "strength": 0, "clips": 2, **FAST}
    assert same(tiny_pipe.interpolate("rain", "wind", **kept), tiny_pipe.interpolate("snow", "hail", **kept))


@pytest.mark.parametrize("window", [32, 96])
def test_checkpoints_of_another_width_interpolate(tiny_pipe, window):
    pipe = RiffusionPipeline(tiny_pipe.checkpoint, tiny_pipe.config)
    pipe.grid = replace(pipe.grid, window=window)
    clip = pipe.interpolate("rain", "wind", clips=2, seed_b=8, seed_image="beat", **FAST)
    assert clip.audio.num_samples == (2 * 512 - 1) * 441 and clip.image.size == (1024, 512)


def test_prompts_of_unequal_length_interpolate(tiny_pipe):
    clip = tiny_pipe.interpolate(" ".join(["rain"] * 100), "(wind:1.3)", clips=2, **FAST)
    assert np.isfinite(clip.audio.samples).all()


def test_slerp_keeps_the_variance():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 4, 16, 256, generator=generator)
    along = torch.linspace(0, 1, 256)
    mixed = slerp(a, b, along)
    torch.testing.assert_close(mixed[..., 0], a[..., 0])
    torch.testing.assert_close(mixed[..., -1], b[..., -1])
    assert mixed[..., 96:160].std() == pytest.approx(1, abs=0.05)
    torch.testing.assert_close(slerp(a, a, along), a)


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments, complaint", [
    ({"prompt": None}, "prompt"), ({"prompt": "a", "steps": 0}, "steps"), ({"prompt": "a", "steps": 2.5}, "steps"),
    ({"prompt": "a", "guidance": -1}, "guidance"), ({"prompt": "a", "guidance": float("nan")}, "guidance"),
    ({"prompt": "a", "seed": -1}, "seed"), ({"prompt": "a", "seed": 2**32}, "seed"),
    ({"prompt": "a", "seed": True}, "seed"),
    ({"prompt": "a", "duration_s": 0.2}, "duration_s from 1 to 30"), ({"prompt": "a", "duration_s": 31}, "duration_s"),
    ({"prompt": "a", "scheduler": "x"}, "dpm"), ({"prompt": "a", "strength": 1.1}, "strength"),
    ({"prompt": "a", "seed_image": "no-such-loop"}, "beat"),
    ({"prompt": "a", "steadiness": None}, "steadiness from 0 to 1, got nothing"),
])
def test_text2audio_refuses(tiny_pipe, arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        tiny_pipe.text2audio(**arguments)


@pytest.mark.parametrize("arguments, complaint", [
    ({"prompt_a": "a"}, "prompt_b or seed_b"), ({"prompt_a": "a", "prompt_b": "b", "clips": 1}, "clips"),
    ({"prompt_a": "a", "prompt_b": "b", "strength_b": 2}, "strength_b"),
    ({"prompt_a": "a", "prompt_b": "b", "guidance_b": 99}, "guidance_b"),
    ({"prompt_a": "a", "seed_b": -4}, "seed_b"),
])
def test_interpolate_refuses(tiny_pipe, arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        tiny_pipe.interpolate(**arguments)


def test_audio2audio_refuses(tiny_pipe, tmp_path):
    text = tmp_path / "song.wav"
    text.write_text("no sound at all")
    empty = tmp_path / "empty.mp3"
    empty.touch()
    for source in (text, empty, tmp_path / "missing.wav"):
        with pytest.raises(ValueError, match=source.name):
            tiny_pipe.audio2audio(source, "flute")
    with pytest.raises(ValueError, match="30"):
        tiny_pipe.audio2audio(make_music(31.0, rate=8000), "flute")
    with pytest.raises(ValueError, match="expected audio to be a file or a waveform, got NoneType"):
        tiny_pipe.audio2audio(None, "flute")
    with pytest.raises(ValueError, match="1 or 2 channels, got 3"):
        tiny_pipe.audio2audio(make_music(1.0, channels=3), "flute")
