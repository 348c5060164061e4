"""The tape of Live over Stop and Play, what it says, and that it goes ahead of long pieces."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import app_server
import pytest
import torch
from browser import PHONE
from live_page import open_live, play_now, save, wait_until_heard
from playwright.sync_api import expect

from riffusion_space import read_audio, read_settings
from riffusion_space.batching import SharedUnet, Turns

# A phone whose screen stays on for as long as somebody holds a lock.
LOCKS = """window.held = 0;
Object.defineProperty(navigator, "wakeLock", { value: { request: async () => {
  window.held += 1;
  return Object.assign(new EventTarget(), { release: async () => { window.held -= 1; } });
} } });"""


def test_stop_and_play_keep_one_tape_on_a_phone(browser, tiny_folder, tmp_path):
    context = browser.new_context(viewport=PHONE)
    page, crashes = context.new_page(), []
    page.on("pageerror", lambda error: crashes.append(error))
    page.add_init_script(LOCKS)
    open_live(page, app_server.start(str(tiny_folder)).url)
    prompt = page.get_by_label("Prompt", exact=True).locator("visible=true")
    message, stop = page.locator(".live .message"), page.get_by_label("Stop", exact=True)

    page.evaluate("scrollTo(0, 0)")
    page.get_by_role("button", name="Play now").click()  # with nothing to play
    expect(message).to_have_text("First write a prompt, or choose one.")
    expect(message).to_be_in_viewport()
    prompt.fill("wind")
    page.get_by_role("button", name="Add to the queue").click()
    expect(prompt).to_have_value("")
    expect(page.locator(".live ol input").first).to_have_value("wind")

    page.evaluate("scrollTo(0, 0)")
    play_now(page, "rain")
    wait_until_heard(page, "rain")
    expect(page.locator(".live .bar .play")).to_be_in_viewport()
    page.wait_for_function("window.held === 1")
    assert page.evaluate("[navigator.mediaSession.metadata.title, navigator.mediaSession.playbackState]") == [
        "rain", "playing"]
    stop.click()
    expect(message).to_contain_text("recorded. Save it")
    page.wait_for_function("window.held === 0 && navigator.mediaSession.playbackState === 'paused'")
    first = read_audio(save(page, tmp_path / "first.wav"))

    play_now(page, "hail")
    wait_until_heard(page, "hail")
    stop.click()
    expect(message).to_contain_text("recorded. Save it")
    file = save(page, tmp_path / "both.wav")
    both, prompts = read_audio(file), read_settings(file)["prompts"]
    assert [each["prompt"] for each in prompts] == ["rain", "hail"] and "seed" in prompts[1]
    assert prompts[1]["at_s"] == pytest.approx(first.duration_s, abs=0.001) and both.duration_s > first.duration_s
    assert (both.samples[:, : first.num_samples] == first.samples).all()

    page.get_by_label("Forget the recording").click()
    expect(page.locator(".live .save")).to_be_disabled()
    expect(page.locator(".live .clock")).to_have_text("0:00")
    context.close()
    assert not crashes


def test_who_goes_ahead_needs_no_seat_of_the_others():
    turns, seen = Turns(), []

    def enter(name: str, ahead: bool, alone: bool = False) -> None:
        with turns.alone() if alone else turns.together(1, ahead=ahead):
            seen.append(name)

    with ThreadPoolExecutor(4) as pool, turns.together(1):
        pool.submit(enter, "chunk", True).result(10)
        alone = pool.submit(enter, "change of the model", False, alone=True)
        while not turns._lines[False]:
            time.sleep(0.01)
        later = pool.submit(enter, "later chunk", True)
        wait([later], 0.3)
        assert not later.done() and not alone.done()  # else what wants to be alone might wait for ever
    assert seen == ["chunk", "change of the model", "later chunk"]


def test_calls_that_go_ahead_hold_others_back_but_not_for_ever():
    calls = []

    class Recording(torch.nn.Module):
        def forward(self, pictures, timestep, encoder_hidden_states):
            calls.append(float(timestep))
            time.sleep(0.02)
            return type("Output", (), {"sample": pictures})

    unet, done = SharedUnet(Recording(), 8), threading.Event()

    def loop(number: float, width: int, until: threading.Event) -> None:
        with unet.loop():
            while not until.is_set():
                unet(torch.zeros(1, 2, 4, width), torch.tensor(number), torch.zeros(1, 3, 5))

    with ThreadPoolExecutor(1) as pool:
        piece = pool.submit(loop, 1.0, 8, done)
        while len(calls) < 3:
            time.sleep(0.01)
        with unet.ahead(), unet.loop():
            began = len(calls)
            for _ in range(20):
                unet(torch.zeros(1, 2, 4, 4), torch.tensor(2.0), torch.zeros(1, 3, 5))
            meanwhile = calls[began:]
        done.set()
        piece.result(10)
    assert 2 <= meanwhile.count(1.0) <= 12  # one in three, and not every other
