"""Where people lost their way on the page: links, names of results, variations, keyboard, regions, and the phone."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlencode

import app_server
import pytest
from browser import DESKTOP, PHONE, WAIT_MS, ready, upload
from conftest import make_music
from playwright.sync_api import Browser, Page, expect

from riffusion_space.audio import write_audio

QUICK = {"steps": 1, "guidance": 1}
BELLS = {"task": "text2audio", "prompt": "church <b>bells", "duration_s": 1, **QUICK}


def follow(page: Page, **settings: object) -> Page:
    """Open a link with these settings."""
    page.goto(f"{app_server.start().url}/?{urlencode(settings)}")
    ready(page)
    return page


def seen(page: Page, name: str, role: str = "button"):
    return page.get_by_role(role, name=name).locator("visible=true")


@pytest.fixture
def tabs(browser: Browser):
    """A page that no link was followed to yet."""
    context = browser.new_context(viewport=DESKTOP)
    yield context.new_page()
    context.close()


@pytest.fixture
def mobile(browser: Browser):
    """A phone with a touch screen, and a share sheet that remembers what it was given."""
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.add_init_script("""navigator.canShare = () => true;
        navigator.share = async ({title, files: [{name, type}]}) => { window.shared = [title, name, type]; };""")
    yield page
    context.close()


def test_sections_of_a_link_are_those_that_are_made(tabs):
    sections = [{"name": "solo", "bars": 1, "prompt": "harp"}]
    follow(tabs, task="arrange", bpm=180, steadiness=0, sections=json.dumps(sections), **QUICK)
    expect(tabs.locator(".blocks .called")).to_have_text(["solo"])
    expect(tabs.locator(".total")).to_have_text("1 bar · 1.3 s")
    seen(tabs, "Generate").click()
    expect(tabs.locator(".card .name")).to_have_text("harp", timeout=WAIT_MS)
    tabs.get_by_label("Tempo", exact=True).locator("visible=true").fill("60")
    expect(tabs.locator(".total")).to_have_text("1 bar · 4.0 s")
    expect(tabs.locator(".blocks .called")).to_have_text(["solo"])


def test_every_step_in_sections_is_taken_back(tabs):
    follow(tabs, task="arrange")
    names, undo, plays = tabs.locator(".blocks .called"), seen(tabs, "Undo"), tabs.get_by_label("What it plays")
    first = names.all_text_contents()
    expect(undo).to_be_disabled()
    tabs.get_by_label("Begin with").select_option("slow morning")
    plays.press("End")
    plays.press_sequentially(", rain")
    states = [names.all_text_contents()]
    for button in ("Move the section to the right", "Add a section", "Remove", "Remove"):
        seen(tabs, button).click()
        states.append(names.all_text_contents())
    for state in states[-2::-1]:
        undo.click()
        expect(names).to_have_text(state)
    expect(plays).to_have_value("harp, rain")
    undo.click()
    expect(plays).to_have_value("harp")
    undo.click()
    expect(names).to_have_text(first)
    expect(tabs.get_by_label("Tempo", exact=True).locator("visible=true")).to_have_value("120")
    expect(undo).to_be_disabled()
    assert tabs.evaluate("document.activeElement.className").startswith("block")


def test_a_result_is_named_focus_stays_and_what_came_of_it_is_read_out(tabs):
    follow(tabs, **BELLS)
    seen(tabs, "Generate").press("Enter")
    expect(seen(tabs, "Cancel")).to_be_focused()
    expect(tabs.locator(".result .title:visible")).to_have_text("church <b>bells", timeout=WAIT_MS)
    expect(tabs.locator(".prose.caption:visible")).to_contain_text("church <b>bells · Seed")
    expect(seen(tabs, "Generate")).to_be_focused()
    expect(tabs.locator("#spoken")).to_have_text("Result: church <b>bells, 1 s")


def test_an_example_that_is_clicked_during_a_run_is_made_next(tabs):
    follow(tabs, **BELLS)
    for name in ("Generate", "sitar", "steel drums"):
        seen(tabs, name).click()
    expect(tabs.get_by_label("Prompt", exact=True)).to_have_value("steel drums")
    expect(tabs.locator(".card").first.locator(".name")).to_have_text("steel drums", timeout=WAIT_MS)
    expect(tabs.locator(".result .title:visible")).to_have_text("steel drums")
    expect(seen(tabs, "Generate")).to_be_visible()


def test_variations_are_of_the_result_whatever_the_fields_say(tabs):
    follow(tabs, **BELLS, seed=7)
    seen(tabs, "Generate").click()
    expect(tabs.locator(".card")).to_have_count(1, timeout=WAIT_MS)
    tabs.get_by_label("Prompt", exact=True).fill("drums")
    tabs.locator(".result .loop:visible").click()
    tabs.locator(".result .play:visible").click()
    seen(tabs, "4 variations").click()
    expect(tabs.locator(".card")).to_have_count(5, timeout=WAIT_MS)
    assert set(tabs.locator(".card .name").all_text_contents()) == {"church <b>bells"}
    expect(tabs.locator(".result .player.playing")).to_have_count(1)  # not replaced
    expect(tabs.locator(".prose.caption:visible")).to_contain_text("Seed 7 ")
    expect(tabs.get_by_label("Prompt", exact=True)).to_have_value("drums")
    seen(tabs, "Advanced").click()
    expect(tabs.get_by_label("Seed", exact=True)).to_have_value("7")


def test_german_stays_german(browser: Browser):
    context = browser.new_context(locale="de-DE")
    page = context.new_page()
    page.goto(f"{app_server.start().url}/?{urlencode(BELLS)}")
    expect(page.locator(".banner.ready")).to_contain_text("Es spielt das mitgelieferte Modell", timeout=WAIT_MS)
    page.get_by_role("button", name="sitar").click()
    expect(page.locator("#spoken")).to_have_text("Ergebnis: sitar, 1 s", timeout=WAIT_MS)
    expect(page.get_by_label("Beschreibung")).to_have_value("sitar")
    expect(page.locator(".prose.caption:visible")).to_contain_text("1 Schritt · Texttreue 1")
    expect(page.locator(".result .plot:visible")).to_have_attribute("aria-valuetext", "0 von 1 Sekunden")
    context.close()


def test_regions_go_with_their_sound_and_a_link_brings_both(tabs, tmp_path):
    region = tabs.locator(".player .region:visible")
    follow(tabs, task="inpaint", audio="rock-beat.mp3", start=1, end=1.5, kept="3,4")
    expect(region).to_have_text("3.00–4.00 s + 1.00–1.50 s", timeout=WAIT_MS)
    tabs.locator("#inpaint-original").get_by_label("Clear").click()
    upload(tabs, "inpaint-original", write_audio(make_music(2), tmp_path / "other.wav"))
    expect(region).to_have_text("0.80–1.20 s", timeout=WAIT_MS)


def test_settings_say_which_sound_they_need(tabs, tmp_path):
    follow(tabs, task="inpaint", audio="<i>song.wav", start=1, end=1.5)
    notice = tabs.locator(".notice p:visible")
    expect(notice).to_have_text("This still needs '<i>song.wav'.", timeout=WAIT_MS)
    follow(tabs, task="inpaint", audio="song.wav", start=1, end=1.5)
    expect(notice).to_have_text("This still needs 'song.wav'.", timeout=WAIT_MS)
    upload(tabs, "inpaint-original", write_audio(make_music(2), Path(tmp_path / "song.wav")))
    expect(tabs.locator(".player .region:visible")).to_have_text("1.00–1.50 s")
    expect(notice).to_have_count(0)


def test_delete_can_be_undone_after_comparing_and_a_drawing_says_its_task(tabs):
    follow(tabs, **BELLS)
    seen(tabs, "Generate").click()
    expect(tabs.locator(".card")).to_have_count(1, timeout=WAIT_MS)
    tabs.get_by_role("tab", name="Codec").click()
    tabs.get_by_role("button", name="beat", exact=True).locator("visible=true").click()
    expect(tabs.locator(".card .facts").first).to_contain_text("Codec", timeout=WAIT_MS)
    tabs.get_by_label("Delete beat").click()
    for _ in range(2):
        tabs.get_by_label("Compare church <b>bells with another").click()
    seen(tabs, "Undo").click()
    expect(tabs.locator(".card")).to_have_count(2)


def test_phone_shares_a_result_and_does_not_pull_a_reader_down(mobile):
    follow(mobile, task="audio2audio", audio="rock-beat.mp3", prompt="harp", strength=0.1, **QUICK)
    expect(mobile.get_by_alt_text("Spectrogram of the original")).to_be_visible(timeout=WAIT_MS)
    expect(mobile.locator("#original .waveform-container")).not_to_be_visible()  # one player is enough
    seen(mobile, "Generate").tap()
    mobile.mouse.wheel(0, -5000)
    expect(mobile.locator(".card")).to_have_count(1, timeout=WAIT_MS)
    mobile.wait_for_timeout(800)
    assert mobile.evaluate("scrollY") == 0
    heights = [seen(mobile, name).bounding_box()["height"] for name in ("4 variations", "Copy link")]
    assert min(heights) >= 40
    seen(mobile, "Share").tap()
    mobile.wait_for_function("window.shared")
    title, name, kind = mobile.evaluate("window.shared")
    assert title == "harp" and name.endswith(".wav") and kind.startswith("audio/")
