"""The built-in loops as the page lets them be heard."""

from __future__ import annotations

import pytest
from browser import WAIT_MS, open_tab
from playwright.sync_api import expect

from riffusion_space import read_audio
from riffusion_space.seed_images import built_in
from riffusion_space.ui.loops import hear_loop

# The length of a sound in seconds, once the browser knows it, which may be after Play.
LENGTH = """(audio) => new Promise((resolve) => {
    const tell = () => resolve(audio.duration);
    if (audio.readyState >= HTMLMediaElement.HAVE_METADATA) tell();
    else audio.addEventListener("loadedmetadata", tell);
})"""


def test_a_loop_is_decoded_once(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    first, second = (hear_loop("beat")["value"] for _ in "ab")
    assert first["sound"]["path"] == second["sound"]["path"] and first["bpm"] == 93.75
    sound = read_audio(first["sound"]["path"])
    assert sound.duration_s == first["seconds"] == 5.11 and sound.peak == pytest.approx(10 ** (-1 / 20), abs=1e-3)


@pytest.mark.parametrize("name", [None, "none", "../beat", ""])
def test_no_loop_no_player(name):
    assert hear_loop(name)["value"] is None and not hear_loop(name)["visible"]


@pytest.mark.parametrize("tab", ["Text to audio", "Interpolate"])
def test_choosing_a_loop_brings_a_player(page, tab):
    open_tab(page, tab)
    page.get_by_role("button", name="Seed image").locator("visible=true").click()
    page.get_by_label("Thumbnail 2 of").locator("visible=true").click()
    player = page.locator(".block.small:visible")
    expect(player.get_by_alt_text("Spectrogram of the loop")).to_be_visible(timeout=WAIT_MS)
    expect(player.locator(".tempo")).to_have_text("140.625 bpm")
    player.get_by_role("button", name="Play").click()
    expect(player.get_by_role("button", name="Pause")).to_be_visible()
    assert player.locator("audio").evaluate(LENGTH) == pytest.approx(5.11, abs=0.01)
    field = page.get_by_label("Built in").locator("visible=true")
    assert built_in()[1].name in field.input_value()
    field.click()
    page.get_by_role("option", name="none").click()
    expect(player).to_have_count(0)
    assert page.locator("audio").evaluate_all("(all) => all.every((audio) => audio.paused)")
