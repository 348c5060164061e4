"""The page as people meet it: each tab driven to a sound in a real headless browser."""

from __future__ import annotations

import io
from urllib.parse import urlsplit

import app_server
import pytest
from browser import chromium
from conftest import make_music, write_pyav
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from riffusion_space import Waveform, read_audio, read_settings
from riffusion_space.audio import write_audio

WAIT_MS = 60_000
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser):
    yield from opened(browser, DESKTOP)


@pytest.fixture
def phone(browser):
    yield from opened(browser, PHONE)


def opened(browser: Browser, size: dict):
    """A fresh page; when it is done with, nothing has gone wrong in it and nothing has left this machine."""
    context = browser.new_context(viewport=size)
    context.set_default_timeout(WAIT_MS)
    page, crashes, hosts = context.new_page(), [], set()
    page.on("pageerror", lambda error: crashes.append(error))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    page.goto(app_server.start().url)
    expect(page.locator(".banner.ready")).to_contain_text("embedded", timeout=WAIT_MS)
    yield page
    context.close()
    assert not crashes
    assert hosts <= {"127.0.0.1", None}  # None: data: and blob:


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def hurry(page: Page) -> None:
    """Two steps will do."""
    page.get_by_role("button", name="Advanced").locator("visible=true").click()
    page.get_by_label("Steps").fill("2")
    page.get_by_label("Guidance", exact=True).fill("1")


def result(page: Page, tmp_path, label: str = "Spectrogram of the result") -> tuple[Waveform, dict]:
    """Wait for what was made; the sound and the settings inside the file that the page offers."""
    picture = page.get_by_alt_text(label).locator("visible=true")
    expect(picture).to_be_visible(timeout=WAIT_MS)
    with Image.open(io.BytesIO(page.request.get(picture.get_attribute("src")).body())) as image:
        assert image.width > 500
    expect(page.locator(".block.caption:visible")).to_contain_text("Seed")
    with page.expect_download() as download:
        page.locator("a[download$='.wav']:visible").get_by_label("Download").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    return read_audio(file), read_settings(file)


def test_text_to_audio(page, tmp_path):
    hurry(page)
    page.get_by_label("Prompt", exact=True).fill("church bells")
    page.get_by_label("Prompt", exact=True).press("Enter")
    sound, settings = result(page, tmp_path)
    assert (sound.num_samples, settings["prompt"], settings["steps"]) == (225351, "church bells", 2)

    page.get_by_role("button", name="Last used").click()
    expect(page.get_by_label("Seed")).to_have_value(str(settings["seed"]))
    page.get_by_role("button", name="Random").click()
    expect(page.get_by_label("Seed")).to_have_value("")
    page.get_by_role("button", name="Settings that make it again").click()
    expect(page.get_by_text(str(settings["seed"])).last).to_be_visible()


def test_example_fills_in_and_runs(page, tmp_path):
    page.get_by_role("button", name="flute and piano").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("flute and piano")
    _, settings = result(page, tmp_path)
    assert settings["prompt"] == "flute and piano"


def test_seed_image_by_its_thumbnail(page, tmp_path):
    hurry(page)
    page.get_by_role("button", name="Seed image").click()
    page.get_by_label("Thumbnail 1 of").click()
    page.get_by_label("Prompt", exact=True).fill("drums")
    page.get_by_role("button", name="Generate").click()
    assert result(page, tmp_path)[1]["seed_image"] == "beat"


def test_audio_to_audio(page, tmp_path):
    song = write_audio(make_music(3, channels=2), tmp_path / "song.mp3")
    open_tab(page, "Audio to audio")
    hurry(page)
    page.locator("#original input[type=file]").set_input_files(song)
    expect(page.get_by_alt_text("Spectrogram of the original")).to_be_visible(timeout=WAIT_MS)
    page.get_by_label("Prompt", exact=True).locator("visible=true").fill("music box")
    page.get_by_role("button", name="Generate").click()
    sound, settings = result(page, tmp_path)
    assert (sound.channels, sound.num_samples) == (2, read_audio(song).num_samples)
    assert settings["prompt"] == "music box"


def test_webm_which_browsers_do_not_count_as_audio(page, tmp_path):
    recording = write_pyav(make_music(3, rate=48000), tmp_path / "recording.webm", "libopus")
    open_tab(page, "Audio to audio")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Another kind of file").click()
    chooser.value.set_files(recording)
    expect(page.get_by_alt_text("Spectrogram of the original")).to_be_visible(timeout=WAIT_MS)
    hurry(page)
    page.get_by_label("Prompt", exact=True).locator("visible=true").fill("flute")
    page.get_by_role("button", name="Generate").click()
    assert result(page, tmp_path)[0].duration_s == pytest.approx(3, abs=0.1)


def test_microphone(page, tmp_path):
    open_tab(page, "Audio to audio")
    hurry(page)
    page.get_by_label("Record audio").click()
    page.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(1500)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_alt_text("Spectrogram of the original")).to_be_visible(timeout=WAIT_MS)
    page.get_by_label("Prompt", exact=True).locator("visible=true").fill("flute")
    page.get_by_role("button", name="Generate").click()
    assert result(page, tmp_path)[0].duration_s > 0.2  # a busy machine's microphone starts late


def test_interpolate_between_prompts(page, tmp_path):
    open_tab(page, "Interpolate")
    hurry(page)
    page.get_by_label("From").fill("church bells")
    page.get_by_label("To", exact=True).fill("jazz piano")
    page.get_by_label("number input for Clips").fill("2")
    page.get_by_label("To", exact=True).press("Enter")
    sound, settings = result(page, tmp_path)
    assert sound.num_samples == 1023 * 441
    assert (settings["prompt_a"], settings["prompt_b"], settings["seed_b"]) == ("church bells", "jazz piano", None)


def test_interpolate_between_seeds(page, tmp_path):
    open_tab(page, "Interpolate")
    hurry(page)
    page.get_by_label("From").fill("marimba")
    page.get_by_label("Seed at the start").fill("7")
    page.get_by_label("Seed at the end").fill("8")
    page.get_by_label("number input for Clips").fill("2")
    page.get_by_role("button", name="Generate").click()
    _, settings = result(page, tmp_path)
    assert (settings["prompt_b"], settings["seed"], settings["seed_b"]) == ("", 7, 8)


def test_error_is_a_sentence_and_loses_nothing(page, tmp_path):
    hurry(page)
    page.get_by_label("Steps").fill("0")
    page.get_by_label("Prompt", exact=True).fill("funk")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator(".toast-body")).to_contain_text("Expected steps to be a whole number from 1 to")
    page.get_by_label("Steps").fill("1")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("funk")
    page.get_by_role("button", name="Generate").click()
    assert result(page, tmp_path)[1]["steps"] == 1

    page.get_by_label("Duration").fill("")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_text("Expected Duration (duration_s) from 1 to 180, got nothing.")).to_be_visible()
    assert result(page, tmp_path)[1]["steps"] == 1  # the error covers nothing


def test_file_that_is_no_sound(page, tmp_path):
    words = tmp_path / "words.wav"
    words.write_text("these are words")
    open_tab(page, "Audio to audio")
    page.locator("#original input[type=file]").set_input_files(words)
    expect(page.locator(".toast-body")).to_contain_text("'words.wav' is none or is damaged")


def test_cancel(page):
    hurry(page)
    page.get_by_label("Duration").fill("120")
    page.get_by_label("Steps").fill("100")
    page.get_by_label("Prompt", exact=True).fill("funk")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_text("Step 1 of 100")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    expect(page.get_by_text("of 100")).to_have_count(0)


@pytest.mark.parametrize("tab", ["Text to audio", "Audio to audio", "Interpolate"])
def test_phone_never_scrolls_sideways(phone, tab):
    open_tab(phone, tab)
    for accordion in phone.get_by_role("button", name="▼").locator("visible=true").all():
        accordion.click()
    expect(phone.get_by_label("Negative prompt").locator("visible=true")).to_be_visible()
    phone.wait_for_timeout(500)
    assert phone.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_long_sound_fits_a_phone(phone, tmp_path):
    phone.evaluate("""() => {
        window.widest = 0;
        const look = () => {
            window.widest = Math.max(window.widest, document.documentElement.scrollWidth);
            requestAnimationFrame(look);
        };
        look();
    }""")
    hurry(phone)
    phone.get_by_label("Steps").fill("1")
    phone.get_by_label("Duration").fill("20")
    phone.get_by_label("Prompt", exact=True).fill("funk")
    phone.get_by_role("button", name="Generate").click()
    assert result(phone, tmp_path)[0].duration_s == 20
    expect(phone.get_by_role("button", name="Play", exact=True)).to_be_in_viewport()  # though it was made further down
    assert phone.evaluate("window.widest") == PHONE["width"]
