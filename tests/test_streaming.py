from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_music
from PIL import Image

from riffusion_space.audio import Waveform, write_audio
from riffusion_space.pipeline import RiffusionPipeline
from riffusion_space.request import Cancelled
from riffusion_space.seed_images import built_in
from riffusion_space.streaming import StreamRequest, StreamState, _turned_to, _under, next_chunk, stream

RAIN = StreamRequest("rain", steps=2, guidance=2.0)
SAMPLES = 32 * 8 * 441


def play(pipe, request, count, state=None):
    chunks, state = [], state or StreamState(seed=7)
    for _ in range(count):
        chunk, state = next_chunk(pipe, state, request)
        chunks.append(chunk)
    return chunks


def roughness(chunks):
    """At the joins, against the interior: the largest second difference of samples within 1 ms, and the largest step
    of the level from 20 ms to the next, in dB."""
    sound = np.concatenate([chunk.audio.samples[0] for chunk in chunks])
    rough = np.abs(np.diff(sound, 2))
    joins = [SAMPLES * number for number in range(1, len(chunks))]
    near = np.concatenate([np.arange(join - 44, join + 44) for join in joins])
    level = 20 * np.log10(np.sqrt((sound[: len(sound) // 882 * 882].reshape(-1, 882) ** 2).mean(1)) + 1e-9)
    step = np.abs(np.diff(level))
    at = [round(join / 882) + k for join in joins for k in (-2, -1, 0, 1)]
    return rough[near].max() / np.delete(rough, near).max(), step[at].max() / np.delete(step, at).max()


def test_chunks_join_without_a_click_and_the_level_holds(tiny_pipe):
    chunks = play(tiny_pipe, RAIN, 4)
    assert [chunk.start for chunk in chunks] == [0, SAMPLES, 2 * SAMPLES, 3 * SAMPLES]
    for chunk in chunks:
        assert chunk.audio.samples.shape == (1, SAMPLES) and chunk.pixels.shape == (512, 256)
        assert chunk.audio.peak <= 1
    jump, level = roughness(chunks)
    assert jump <= 1 and level <= 1


def test_a_state_makes_the_same_chunk_however_often_and_through_bytes(tiny_pipe):
    first, state = next_chunk(tiny_pipe, StreamState(seed=3), RAIN)
    one, _ = next_chunk(tiny_pipe, state, RAIN)
    two, _ = next_chunk(tiny_pipe, StreamState.from_bytes(state.to_bytes()), RAIN)
    assert np.array_equal(one.audio.samples, two.audio.samples) and len(state.loops) == 1
    other, _ = next_chunk(tiny_pipe, state, StreamRequest("wind", steps=2, guidance=9.0))
    assert not np.array_equal(one.audio.samples, other.audio.samples)
    assert len(state.to_bytes()) < 1_000_000 and state.latents.device.type == "cpu"
    with pytest.raises(ValueError, match="expected the bytes of a stream's state"):
        StreamState.from_bytes(b"nothing of the kind")


def test_prompts_are_reached_over_the_chunks_asked_for():
    state = _turned_to(StreamState(), StreamRequest("rain"))
    assert state.blend == {"rain": 1.0}
    shares = []
    for _ in range(5):
        state = _turned_to(state, StreamRequest("wind", transition=4))
        shares.append(round(state.blend["wind"], 3))
    assert shares == [0.25, 0.5, 0.75, 1.0, 1.0] and set(state.blend) == {"wind"}
    midway = _turned_to(_turned_to(state, StreamRequest("rain", transition=2)), StreamRequest("snow", transition=2))
    assert midway.blend == {"wind": 0.25, "rain": 0.25, "snow": 0.5}
    assert _turned_to(midway, StreamRequest("hail", bpm=120)).blend == {"hail, 120 bpm": 1.0}


def test_prompts_that_are_never_reached_are_left_behind():
    state = StreamState()
    for number in range(100):
        state = _turned_to(state, StreamRequest(f"rain {number}", transition=8))
        assert sum(state.blend.values()) == pytest.approx(1)
    assert len(state.blend) < 20 and min(state.blend.values()) >= 0.02 and state.blend["rain 99"] >= 0.125


def test_wildness_walks_the_noise(tiny_pipe):
    def second(wildness):
        return play(tiny_pipe, StreamRequest("rain", steps=2, guidance=2.0, wildness=wildness), 2)[1].pixels

    assert not np.array_equal(second(0.0), second(1.0))


def test_a_seed_image_is_read_once_and_can_be_left(tiny_pipe):
    beat = StreamRequest("rain", steps=2, guidance=2.0, seed_image="beat", strength=0.5)
    first, state = next_chunk(tiny_pipe, StreamState(), beat)
    (loop,) = state.loops
    assert loop.columns == 64 and first.bpm == loop.bpm == next(seed.bpm for seed in built_in() if seed.name == "beat")
    _, again = next_chunk(tiny_pipe, state, beat)
    assert again.loops[0] is loop
    _, left = next_chunk(tiny_pipe, again, RAIN)
    assert [loop.prompt for loop in left.loops] == ["rain"]


def test_a_stream_goes_round_a_loop_of_its_own(tiny_pipe):
    rain = StreamRequest("rain, 130 bpm", steps=2, guidance=2.0)
    first, state = next_chunk(tiny_pipe, StreamState(), rain)
    (loop,) = state.loops
    assert loop.columns == 46 and first.loop_s > 0  # two bars, which are 46.15 columns
    assert first.bpm == loop.bpm == pytest.approx(130.43, abs=0.01)
    second, again = next_chunk(tiny_pipe, state, replace(rain, bpm=100.0))  # the prompt's own tempo is what it is told
    assert again.loops[0] is loop and second.bpm == first.bpm
    wild, without = next_chunk(tiny_pipe, again, replace(rain, wildness=1.0))
    assert not without.loops and wild.bpm == 130
    _, slow = next_chunk(tiny_pipe, state, replace(rain, prompt="rain", bpm=40.0))
    assert slow.loops[0].columns == 75  # a bar that is longer than the model sees at once
    open_tempo, state = next_chunk(tiny_pipe, state, replace(rain, prompt="rain"))
    assert state.loops[0].columns == 60 and open_tempo.bpm is None


@pytest.mark.parametrize("change", [{"negative_prompt": "wind"}, {"guidance": 3.0}, {"scheduler": "ddim"}])
def test_a_loop_is_made_anew_when_it_would_be_another(tiny_pipe, change):
    _, state = next_chunk(tiny_pipe, StreamState(), RAIN)
    _, after = next_chunk(tiny_pipe, state, replace(RAIN, **change))
    assert not torch.equal(after.loops[0].latents, state.loops[0].latents)


def test_a_hurry_does_not_last(tiny_pipe):
    """What is under the stream has as many steps, however few the chunk had that it began with."""
    hurried, calm = (next_chunk(tiny_pipe, StreamState(), replace(RAIN, steps=steps))[1] for steps in (1, 4))
    assert torch.equal(hurried.loops[0].latents, calm.loops[0].latents)


def test_loops_give_way_to_each_other_as_prompts_do(tiny_pipe):
    def chunk(state, prompt):
        return next_chunk(tiny_pipe, state, StreamRequest(prompt, steps=1, guidance=1.0, transition=4))[1]

    state = chunk(StreamState(), "rain")
    (rain,) = state.loops
    shares = []
    for _ in range(4):
        state = chunk(state, "wind")
        wind = state.loops[-1].latents
        shares.append(round(float((_under(state) - rain.latents).norm() / (wind - rain.latents).norm()), 3))
    assert shares == [0.25, 0.5, 0.75, 1.0] and [loop.prompt for loop in state.loops] == ["wind"]


def test_a_new_tempo_goes_on_within_the_beat(tiny_pipe):
    slow, fast = (StreamRequest(f"rain, {bpm} bpm", steps=1, guidance=1.0) for bpm in (100, 140))
    state = next_chunk(tiny_pipe, next_chunk(tiny_pipe, StreamState(), slow)[1], slow)[1]
    after = next_chunk(tiny_pipe, state, fast)[1]
    first = 2 * 32 + 4  # column of the stream from which on the new loop counts
    column_s = 0.08
    beats = [(first - each.origin) * column_s * each.loops[0].bpm / 60 % 1 for each in (state, after)]
    assert after.origin != 0 and abs((beats[1] - beats[0] + 0.5) % 1 - 0.5) < column_s * 140 / 60 / 2 + 0.01


@pytest.mark.parametrize("seconds, bpm, columns", [(4.0, 120, 50), (10.0, 130, 46), (2.5, None, 31)])
def test_a_sound_of_ones_own_goes_round_in_whole_bars(tiny_pipe, tmp_path, seconds, bpm, columns):
    if bpm is None:
        sound = make_music(seconds)
    else:  # clicks
        samples = np.zeros((1, round(seconds * 44_100)), np.float32)
        click = (np.random.default_rng(0).normal(0, 0.3, 900) * np.linspace(1, 0, 900)).astype(np.float32)
        for start in (np.arange(0, seconds - 0.05, 60 / bpm) * 44_100).astype(int):
            samples[0, start : start + 900] += click
        sound = Waveform(samples, 44_100)
    file = write_audio(sound, tmp_path / "loop.wav")
    chunk, state = next_chunk(tiny_pipe, StreamState(), replace(RAIN, seed_image=file))
    assert state.loops[0].columns == columns
    if bpm is not None:
        assert chunk.bpm == pytest.approx(bpm, rel=0.01)


def test_the_embedded_checkpoint_keeps_its_beat():
    """What is painted comes again after the loop's length, and not a bit before or after it."""
    pipe = RiffusionPipeline.from_pretrained("embedded", "cpu")
    chunks = play(pipe, StreamRequest("techno, 120 bpm", steps=4), 6)
    pixels = np.concatenate([chunk.pixels for chunk in chunks], 1).astype(np.float64)
    onsets = np.maximum(pixels[:, :-1] - pixels[:, 1:], 0).sum(0)  # darker is louder
    onsets -= onsets.mean()
    beat, length = 50, 400  # columns of 10 ms: a beat, and two bars
    alike = {lag: np.dot(onsets[:-lag], onsets[lag:]) / (len(onsets) - lag) / onsets.var()
             for lag in range(length - beat // 2, length + beat // 2 + 1)}
    assert chunks[0].bpm == 120 and max(alike, key=alike.get) == pytest.approx(length, abs=1)
    assert alike[length] > 0.5


def test_the_generator_takes_requests(tiny_pipe):
    chunks = tiny_pipe.stream("rain", seed=1, steps=2, guidance=2.0)
    first = next(chunks)
    assert np.array_equal(first.audio.samples, next(stream(tiny_pipe, RAIN, StreamState(seed=1))).audio.samples)
    chunks = tiny_pipe.stream(RAIN, seed=1)
    assert next(chunks).blend == {"rain": 1.0}
    assert chunks.send(StreamRequest("wind", steps=2)).blend == {"wind": 1.0}
    assert next(chunks).blend == {"wind": 1.0}
    chunks.close()


def test_cancelling_leaves_the_state_and_frees_the_device(tiny_pipe):
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        next_chunk(tiny_pipe, StreamState(), RAIN, cancel=cancel)
    next_chunk(tiny_pipe, StreamState(), RAIN)


@pytest.mark.parametrize("values, complaint", [
    ({"prompt": None}, "prompt"), ({"prompt": "a", "wildness": 2}, "wildness from 0 to 1"),
    ({"prompt": "a", "transition": 0}, "transition"), ({"prompt": "a", "steps": 0}, "steps"),
    ({"prompt": "a", "bpm": 1}, "bpm"), ({"prompt": "a", "seed_image": "no-such"}, "seed image"),
    ({"prompt": "a", "seed_image": Image.new("L", (9, 9))}, "seed_image to be a name or a file, got Image"),
])
def test_what_cannot_be_played_is_refused(tiny_pipe, values, complaint):
    with pytest.raises(ValueError, match=complaint):
        next_chunk(tiny_pipe, StreamState(), StreamRequest(**values))


@pytest.mark.parametrize("seed", [-1, 1.5, 2**32, "7"])
def test_a_seed_that_is_none_is_refused_at_once(tiny_pipe, seed):
    with pytest.raises(ValueError, match="expected seed to be a whole number"):
        tiny_pipe.stream("rain", seed)
    with pytest.raises(ValueError, match="expected seed to be a whole number"):
        next_chunk(tiny_pipe, StreamState(seed), RAIN)


def test_without_words_there_is_nothing_to_be_guided_by(tiny_pipe):
    rows = []
    watch = tiny_pipe.checkpoint.unet.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    try:
        next_chunk(tiny_pipe, StreamState(), StreamRequest("", steps=2, guidance=5.0))
        next_chunk(tiny_pipe, StreamState(), StreamRequest("", "noise", steps=2, guidance=5.0))
    finally:
        watch.remove()
    assert rows == [*(7 * [1]), *(7 * [2])]  # the steps of the loop, and the part of two that a chunk goes from there


def test_the_embedded_checkpoint_plays_on():
    pipe = RiffusionPipeline.from_pretrained("embedded", "cpu")
    state, chunks = StreamState(seed=7), []
    for prompt in ("piano melody", "piano melody", "flute melody"):
        chunk, state = next_chunk(pipe, state, StreamRequest(prompt, steps=4))
        chunks.append(chunk)
    jump, level = roughness(chunks)
    assert jump <= 1 and level <= 1.2
    loud = [float(torch.from_numpy(chunk.audio.samples).square().mean().sqrt()) for chunk in chunks]
    assert max(loud) / min(loud) < 2
