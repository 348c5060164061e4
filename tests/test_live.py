"""Music without an end, as a browser and a program hear it from the real app; a tiny checkpoint is quick enough."""

from __future__ import annotations

import itertools

import app_server
import gradio_client
import numpy as np
import pytest
from browser import DESKTOP, WAIT_MS, fill
from live_page import (
    RATE,
    SOON_S,
    asked_at,
    captured,
    cpu_in,
    holes,
    open_live,
    play_now,
    save,
    seconds_until_idle,
    seen_and_heard,
    wait_until_heard,
    wait_until_heard_on,
)
from playwright.sync_api import expect

from riffusion_space import read_audio, read_settings
from riffusion_space.streaming import StreamState
from riffusion_space.ui.listeners import BUSY_S, IDLE_S, KEPT, Listeners

pytestmark = pytest.mark.alone
QUICK = {"steps": 2, "guidance": 1}
SEED, CHUNK_S = 7, 2.56
HEARD_WITHIN_S, SEEN_WITHIN_S = 3.0, 0.05
AT_ONCE_S = 0.5


@pytest.fixture(scope="module")
def server(tiny_folder):
    return app_server.start(str(tiny_folder))


@pytest.fixture
def listener(browser, server):
    context = browser.new_context(viewport=DESKTOP)
    context.set_default_timeout(WAIT_MS)
    page, crashes = context.new_page(), []
    page.on("pageerror", lambda error: crashes.append(error))
    open_live(page, server.url)
    page.get_by_role("button", name="Advanced").locator("visible=true").click()
    page.get_by_role("button", name="Settings ▼", exact=True).click()
    for label, value in (("Seed", SEED), ("Steps", 4), ("Guidance", 1)):
        fill(page, label, str(value))
    yield page
    context.close()
    assert not crashes


def test_plays_on_without_a_gap_whatever_happens(listener, server, tmp_path):
    page = listener
    play_now(page, "rain")
    wait_until_heard(page, "rain")
    lags = []
    for _ in range(40):
        page.wait_for_timeout(300)
        if both := seen_and_heard(page):
            lags.append(both[1] - both[0])
        if len(lags) == 8:
            break
    # Frames that come late let the picture lag, but nothing lets it lead.
    assert len(lags) == 8 and -SEEN_WITHIN_S < min(lags) < SEEN_WITHIN_S / 2

    asked = play_now(page, "wind")
    wait_until_heard(page, "wind")
    requested = asked_at(page, "wind")

    page.evaluate("window.slow = true")  # the next chunk does not come in time
    expect(page.locator(".live .message")).to_have_text("Falling behind: the last bars once more")
    page.wait_for_timeout(1000)
    assert holes(page) < 1
    page.evaluate("window.slow = false")
    expect(page.locator(".live .message")).not_to_contain_text("the last bars")
    wait_until_heard_on(page, 6, 8)
    assert holes(page) < 1

    file = save(page, tmp_path / "live.wav")
    heard = captured(page)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(heard.pieces))
    at_joins, inside = heard.roughness()
    assert len(heard.joins) >= 6 and at_joins <= inside
    level = np.sqrt((heard.sound[: len(heard.sound) // 441 * 441].reshape(-1, 441) ** 2).mean(1))
    assert level[10:].min() > 0.01  # no silence, not even of 10 ms

    kept, settings = read_audio(file), read_settings(file)
    length = min(kept.num_samples, len(heard.sound))
    assert length > 8 * RATE
    assert np.abs(kept.samples[0, :length] - heard.sound[:length]).max() < 1.01 / 32768  # what was heard, to the sample
    assert [each["prompt"] for each in settings["prompts"]] == ["rain", "wind"]
    assert (settings["task"], settings["seed"]) == ("stream", SEED)

    assert 0 <= requested - asked < AT_ONCE_S
    # How long the chunk then takes is the machine's. It is heard as soon as it is there, or where the one whose place
    # it takes begins.
    begins, asked = settings["prompts"][1]["at_s"], asked - heard.origin / RATE
    soonest = heard.scheduled_at(begins) + SOON_S
    assert begins <= soonest + 1e-3 or heard.is_place(begins)
    assert begins < max(soonest + 1e-3, asked + HEARD_WITHIN_S)

    page.close()
    assert seconds_until_idle(server.pid, 10) < 6


def test_a_recording_of_it_plays_on_from_its_settings(listener, server, tmp_path):
    """As a link, or a file that is opened, fills them in."""
    page = listener
    page.goto(f"{server.url}/?task=stream&prompt=hail&seed=5&steps=4&guidance=1")
    expect(page.get_by_label("Prompt", exact=True).locator("visible=true")).to_have_value("hail")
    page.get_by_label("Play without an end").click()
    wait_until_heard(page, "hail")
    settings = read_settings(save(page, tmp_path / "live.wav"))
    assert settings["prompt"] == "hail" and settings["seed"] == 5


def test_a_queue_that_is_edited_while_it_plays_and_stop_that_ends_the_work(listener, server):
    page = listener
    prompt = page.get_by_label("Prompt", exact=True).locator("visible=true")
    for each in ("rain", "hail", "wind"):
        prompt.fill(each)
        page.get_by_role("button", name="Add to the queue").click()
    items = page.get_by_label("A prompt to come")
    expect(items).to_have_count(3)
    page.get_by_label("Sooner").nth(2).click()
    page.get_by_label("Remove").nth(2).click()
    items.nth(1).fill("snow")
    page.locator(".live .hold input").fill("5")
    page.get_by_label("Play without an end").click()
    wait_until_heard(page, "rain")
    wait_until_heard(page, "snow")
    expect(items).to_have_count(0)
    playing = cpu_in(server.pid, 2 * CHUNK_S)
    page.get_by_label("Stop", exact=True).click()
    expect(page.get_by_label("Play without an end")).to_be_visible()
    assert seconds_until_idle(server.pid, 10) < 6
    assert cpu_in(server.pid, 2 * CHUNK_S) < playing / 2
    sound = captured(page).samples
    assert not sound[-2048:].any()


def test_the_endpoint_goes_on_from_the_state_it_gave(server):
    client = gradio_client.Client(server.url, verbose=False)
    first, settings = client.predict(prompt="rain", seed=7, **QUICK, api_name="/stream")
    chunks = [client.predict(prompt="rain", state=settings["state"], **QUICK, api_name="/stream") for _ in range(2)]
    sounds = [read_audio(path).samples for path, _ in chunks]
    assert np.array_equal(*sounds) and chunks[0][1]["state"] != chunks[1][1]["state"]
    length = read_audio(first).num_samples
    assert (settings["seed"], settings["start"], chunks[0][1]["start"]) == (7, 0, length)
    assert abs(sounds[0][0, 0] - read_audio(first).samples[0, -1]) < 0.1  # no jump
    with pytest.raises(Exception, match="state of a stream that is going on"):
        client.predict(prompt="rain", state="0" * 32 + "-0", api_name="/stream")
    with pytest.raises(Exception, match="(?i)transition to be a whole number from 1 to 32"):
        client.predict(prompt="rain", transition=99, api_name="/stream")


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_states_are_bounded_and_a_handle_is_nobody_elses(tmp_path):
    listeners = Listeners(2, Clock())
    handle = listeners.begin(StreamState(seed=1), "page")
    other = listeners.begin(StreamState(seed=2))
    assert listeners.state(handle).seed == 1 and listeners.state(other).seed == 2
    assert len(handle.partition("-")[0]) == 32 and handle.partition("-")[0] != other.partition("-")[0]
    folders = []
    for number in range(KEPT + 1):
        folders.append(tmp_path / str(number))
        folders[-1].mkdir()
        after = listeners.follow(handle, StreamState(seed=1, chunks=number))
        listeners.keep(after, folders[-1])
    assert [folder.exists() for folder in folders] == [False] + [True] * KEPT
    for wrong in (handle, "", "0-0", f"{other}0", other.partition("-")[0]):
        with pytest.raises(ValueError, match="state of a stream"):
            listeners.state(wrong)
    listeners.drop(other)
    listeners.drop(other)  # once more does no harm
    assert not listeners.knows(other)
    listeners.forget("page")
    assert len(listeners) == 0 and not any(folder.exists() for folder in folders)
    assert not listeners.knows(listeners.follow(after, StreamState()))  # who has left gets nothing more


def test_a_new_listener_takes_the_place_of_one_who_does_not_come_back():
    clock = Clock()
    listeners = Listeners(1, clock)
    handle = listeners.begin(StreamState())
    with pytest.raises(ValueError, match="at most 1 listeners"):
        listeners.begin(StreamState())
    clock.now = BUSY_S + 1
    newer = listeners.begin(StreamState())
    assert listeners.knows(newer) and not listeners.knows(handle)
    clock.now += IDLE_S + 1
    with pytest.raises(ValueError, match="begin anew"):
        listeners.state(newer)
    assert len(listeners) == 0
