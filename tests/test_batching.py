"""Requests together give what each gives alone, wait for nobody long, and are cancelled alone."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import wait_until

from riffusion_space.batching import SharedUnet, Turns
from riffusion_space.config import Config
from riffusion_space.pipeline import RiffusionPipeline
from riffusion_space.request import Cancelled

LONG_S = 60  # longer than any thread is held up on a machine that is busy


class Recording(torch.nn.Module):
    """A UNet whose answer tells picture, timestep and prompt; it notes the rows of each call."""

    def __init__(self, fails: type[Exception] | None = None):
        super().__init__()
        self.rows, self._fails = [], fails

    def forward(self, pictures, timestep, encoder_hidden_states):
        self.rows.append(len(pictures))
        time.sleep(0.05)
        if self._fails is not None and len(pictures) > 1:
            raise self._fails("too many")
        answer = pictures + timestep.reshape(-1, 1, 1, 1) + encoder_hidden_states.mean((1, 2))[:, None, None, None]
        return type("Output", (), {"sample": answer})


def run_loops(unet: SharedUnet, loops: int, steps: int, tokens=lambda number: 3) -> None:
    """So many loops at a time; each checks its own answers."""
    ready = threading.Barrier(loops)

    def loop(number: int) -> None:
        pictures = torch.full((1, 2, 4, 4), float(number))
        prompts = torch.full((1, tokens(number), 5), 1000.0 * number)
        with unet.loop():
            ready.wait(LONG_S)
            for step in range(steps):
                got = unet(pictures, torch.tensor(10.0 * step * (number + 1)), prompts)
                assert torch.equal(got, pictures + 10.0 * step * (number + 1) + 1000.0 * number)

    with ThreadPoolExecutor(loops) as pool:
        list(pool.map(loop, range(loops)))


def test_loops_at_different_timesteps_share_calls():
    model = Recording()
    run_loops(SharedUnet(model, 8, patience_s=LONG_S), 4, 6)
    assert model.rows == [4] * 6  # and not 24 times one


def test_no_call_is_larger_than_what_fits():
    model = Recording()
    run_loops(SharedUnet(model, 3, patience_s=LONG_S), 4, 3)
    assert max(model.rows) == 3 and sum(model.rows) == 12


def test_prompts_of_different_lengths_do_not_mix():
    model = Recording()
    run_loops(SharedUnet(model, 8, patience_s=LONG_S), 4, 3, tokens=lambda number: 3 + number % 2)
    assert model.rows == [2] * 6


def test_what_does_not_fit_in_memory_is_computed_one_by_one():
    model = Recording(fails=torch.OutOfMemoryError)
    run_loops(SharedUnet(model, 8, patience_s=LONG_S), 2, 2)
    assert model.rows == [2, 1, 1, 1, 1]  # and it is not tried again


def test_an_error_reaches_every_loop_that_was_in_the_call():
    unet, told = SharedUnet(Recording(fails=RuntimeError), 8, patience_s=LONG_S), []
    ready = threading.Barrier(2)

    def loop(_: int) -> None:
        with unet.loop():
            ready.wait(LONG_S)
            with pytest.raises(RuntimeError, match="too many"):
                unet(torch.zeros(1, 2, 4, 4), torch.tensor(1.0), torch.zeros(1, 3, 5))
            told.append(1)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(loop, range(2)))
    assert len(told) == 2


class Noting(threading.Condition):
    """Notes how long it is waited for, which depends on the calls alone; when the wait ends, on the machine, too."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def wait(self, timeout=None):
        assert timeout is not None, "nobody would end this wait"
        self.waits.append(timeout)
        return super().wait(timeout)


def test_a_loop_that_is_busy_elsewhere_is_not_waited_for_long():
    unet = SharedUnet(Recording(), 8)
    unet._changed = changed = Noting()
    allowed = 0.02  # before there was a call
    with unet.loop(), unet.loop():  # of which one never calls
        for _ in range(4):
            changed.waits.clear()
            began = time.monotonic()
            unet(torch.zeros(1, 2, 4, 4), torch.tensor(1.0), torch.zeros(1, 3, 5))
            assert max(changed.waits, default=0) <= allowed
            allowed = 0.25 * (time.monotonic() - began)  # of what the call took at most


def test_turns_are_first_come_first_served_also_for_who_wants_to_be_alone():
    turns, seen = Turns(), []

    def enter(name: str, alone: bool) -> None:
        with turns.alone() if alone else turns.together(2):
            seen.append(name)
            time.sleep(0.05)

    with turns.together(2):
        threads = []
        for name, alone, queued in (("a", False, 0), ("alone", True, 1), ("b", False, 2)):
            threads.append(threading.Thread(target=enter, args=(name, alone)))
            threads[-1].start()
            wait_until(lambda: seen and len(turns._lines[False]) == queued)  # noqa: B023
        time.sleep(0.1)
        assert seen == ["a"]  # there is a second seat, but "b" may not overtake "alone"
    for thread in threads:
        thread.join(LONG_S)
    assert seen == ["a", "alone", "b"]


def test_who_is_alone_is_alone_from_the_first_moment():
    turns, inside, met = Turns(), [], []
    until = time.monotonic() + 1

    def work(alone: bool) -> None:
        while time.monotonic() < until:
            with turns.alone() if alone else turns.together(8):
                inside.append(alone)
                if alone or any(inside):
                    met.append(len(inside))
                inside.remove(alone)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads are interrupted anywhere
    try:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(work, [True, True, False, False, False, False]))
    finally:
        sys.setswitchinterval(usual)
    assert met and set(met) == {1}


def test_who_gives_up_waiting_holds_nobody_up():
    turns = Turns()

    def give_up() -> None:
        raise Cancelled("cancelled")

    with turns.alone():
        with pytest.raises(Cancelled), turns.together(1, give_up):
            pass
    with turns.together(1):
        pass


@pytest.fixture
def together(tiny_pipe):
    return RiffusionPipeline(tiny_pipe.checkpoint, Config(batch=4))


REQUESTS = (
    {"prompt": "church bells", "seed": 1, "steps": 5, "guidance": 4.0, "duration_s": 1.0},
    {"prompt": "flute", "seed": 2, "steps": 7, "guidance": 1.0, "duration_s": 7.0, "scheduler": "euler a"},
    {"prompt": "jazz " * 80, "seed": 3, "steps": 4, "guidance": 2.0, "duration_s": 1.0, "scheduler": "unipc"},
    {"prompt": "techno", "seed": 4, "steps": 6, "guidance": 1.0, "loop": True, "bpm": 120.0, "bars": 1},
)


def test_requests_of_all_kinds_together_are_what_each_is_alone(tiny_pipe, together):
    alone = [tiny_pipe.text2audio(**request) for request in REQUESTS]
    with ThreadPoolExecutor(len(REQUESTS)) as pool:
        made = list(pool.map(lambda request: together.text2audio(**request), REQUESTS))
    for mine, other in zip(made, alone):
        assert mine.settings == other.settings and mine.audio.samples.shape == other.audio.samples.shape
        pixels = [np.asarray(clip.image, int) for clip in (mine, other)]
        assert np.abs(pixels[0] - pixels[1]).max() <= 1  # rounded from floats of which the last bits may differ


def test_one_of_several_is_cancelled_within_a_step(tiny_pipe, together):
    cancel, alone = threading.Event(), tiny_pipe.text2audio(**REQUESTS[0])

    def progress(fraction: float, text: str) -> None:
        if text.startswith("Step 1 "):
            cancel.set()

    with ThreadPoolExecutor(2) as pool:
        kept = pool.submit(together.text2audio, **REQUESTS[0])
        gone = pool.submit(together.text2audio, "flute", seed=2, steps=50, progress=progress, cancel=cancel)
        with pytest.raises(Cancelled):
            gone.result(30)
        assert np.abs(np.asarray(kept.result(30).image, int) - np.asarray(alone.image, int)).max() <= 1
