"""The page as people meet it: each tab driven to a sound in a real headless browser."""

from __future__ import annotations

import io
import re

import app_server
import numpy as np
import pytest
from browser import DESKTOP, PHONE, WAIT_MS, fill, hurry, open_tab, opened, ready, result, unfold, upload
from conftest import make_music, write_pyav
from gradio_client import Client
from PIL import Image, ImageStat
from playwright.sync_api import Page, expect

from riffusion_space import read_audio
from riffusion_space.audio import write_audio
from riffusion_space.spectrogram import SpectrogramParams, has_params


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
    page.get_by_role("button", name="flute melody").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("flute melody")
    _, settings = result(page, tmp_path)
    assert settings["prompt"] == "flute melody"


def test_seed_image_by_its_thumbnail(page, tmp_path):
    hurry(page)
    page.get_by_role("button", name="Seed image").click()
    page.get_by_label("Thumbnail 1 of").click()
    page.get_by_label("Prompt", exact=True).fill("drums")
    page.get_by_role("button", name="Generate").click()
    assert result(page, tmp_path)[1]["seed_image"] == "beat"
    expect(page.locator(".result .tempo:visible")).to_have_text("93.75 bpm")


def test_beats_are_those_that_were_asked_for(page, tmp_path):
    hurry(page)
    page.get_by_label("Prompt", exact=True).fill("techno at 125 BPM")
    page.get_by_role("button", name="Generate").click()
    result(page, tmp_path)
    expect(page.locator(".result .tempo:visible")).to_have_text("125 bpm")
    page.get_by_role("button", name="Tempo, key, loop").click()
    fill(page, "Tempo", "100")
    fill(page, "Bars", "1")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator(".result .tempo:visible")).to_have_text("100 bpm", timeout=WAIT_MS)
    sound, settings = result(page, tmp_path)
    assert (sound.duration_s, settings["bpm"], settings["bars"]) == (2.4, 100, 1)


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


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From one point of the spectrogram to another, both as parts of its width and of its height from the top."""
    page.locator(".plot:visible").first.scroll_into_view_if_needed()
    box = page.locator(".plot:visible").first.bounding_box()
    for press, (right, down) in ((page.mouse.down, start), (page.mouse.up, end)):
        page.mouse.move(box["x"] + right * box["width"], box["y"] + down * box["height"], steps=3)
        press()


def click(page: Page, right: float) -> None:
    drag(page, (right, 0.5), (right, 0.5))


# How far the playhead is behind the sound, in seconds, in each of so many frames.
LAGS = """(plot, frames) => new Promise((resolve) => {
    const audio = plot.closest(".player").querySelector("audio"), head = plot.querySelector(".head"), lags = [];
    const look = () => {
        const { left, width } = plot.getBoundingClientRect();
        const middle = head.getBoundingClientRect().left + 1;
        lags.push(audio.currentTime - ((middle - left) / width) * audio.duration);
        lags.length < frames ? requestAnimationFrame(look) : resolve(lags);
    };
    look();
})"""


# Notes where the sound is sent back from, and to.
JUMPS = """(plot) => {
    const audio = plot.closest(".player").querySelector("audio");
    const { get, set } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "currentTime");
    window.jumps = [];
    Object.defineProperty(audio, "currentTime", { get, set(time) {
        if (time < get.call(audio)) window.jumps.push([get.call(audio), time]);
        set.call(audio, time);
    } });
}"""


@pytest.fixture
def player(page, tmp_path):
    """The page with a sound of four seconds in a player."""
    open_tab(page, "Audio to audio")
    upload(page, "original", write_audio(make_music(4), tmp_path / "song.wav"))
    return page


def sound_of(page: Page, what: str):
    return page.locator(".player:visible").first.evaluate(f"(player) => player.querySelector('audio').{what}")


def test_player_follows_the_sound(player):
    plot = player.get_by_role("slider", name="Spectrogram of the original")
    expect(plot).to_have_attribute("aria-valuetext", "0 of 4 seconds")
    click(player, 0.25)
    assert sound_of(player, "currentTime") == pytest.approx(1, abs=0.02) and sound_of(player, "paused")
    plot.press(" ")
    expect(player.get_by_role("button", name="Pause")).to_be_visible()
    lags = plot.evaluate(LAGS, 30)
    assert -0.05 < min(lags) < 0.05  # frames that come late let it lag, but nothing lets it lead
    player.wait_for_function("[...document.querySelectorAll('audio')].some((audio) => audio.currentTime > 1.2)")
    plot.press(" ")
    expect(player.locator(".player:visible").first.get_by_role("button", name="Play")).to_be_visible()
    assert sound_of(player, "paused")


def test_player_by_keyboard(player):
    plot = player.get_by_role("slider", name="Spectrogram of the original")
    for key, time in (("ArrowRight", 1), ("ArrowRight", 2), ("Shift+ArrowLeft", 1.9), ("End", 4), ("Home", 0)):
        plot.press(key)
        assert sound_of(player, "currentTime") == pytest.approx(time, abs=0.01)
    plot.press("ArrowRight")
    expect(plot).to_have_attribute("aria-valuetext", "1 of 4 seconds")
    plot.press("[")
    expect(player.locator(".player .region:visible")).to_have_text("1.00–2.00 s")
    plot.press("Escape")
    expect(player.locator(".player .region:visible")).to_have_count(0)


def test_player_loops_a_region(player):
    drag(player, (0.5, 0.5), (0.55, 0.5))  # 2 to 2.2 s
    expect(player.locator(".player .region:visible")).to_have_text("2.00–2.20 s")
    player.locator(".player:visible .loop").first.click()
    player.locator(".player:visible .plot").first.evaluate(JUMPS)
    player.locator(".player:visible .play").first.click()
    player.wait_for_function("window.jumps.length > 1")
    for end, start in player.evaluate("window.jumps"):
        assert end >= 2.195 and start == pytest.approx(2, abs=0.005)
    assert not sound_of(player, "paused")


def test_player_in_black_on_white(player):
    plot = player.locator(".plot:visible").first
    light = []
    for _ in range(2):
        with Image.open(io.BytesIO(plot.screenshot())) as shot:
            light.append(ImageStat.Stat(shot.convert("L")).mean[0])
        player.get_by_label("Black on white").locator("visible=true").first.click()
    assert light[0] < 100 and light[1] > 155


def test_one_player_at_a_time(player, tmp_path):
    player.locator(".player:visible .play").first.click()
    assert not sound_of(player, "paused")
    open_tab(player, "Extend")
    upload(player, "extend-original", write_audio(make_music(2), tmp_path / "other.wav"))
    player.locator(".player:visible .play").first.click()
    expect(player.locator(".player.playing")).to_have_count(1)


def test_finger_marks_a_region(phone, tmp_path):
    open_tab(phone, "Inpaint")
    upload(phone, "inpaint-original", write_audio(make_music(4), tmp_path / "song.wav"))
    expect(phone.get_by_label("range slider for To").locator("visible=true")).to_have_attribute("max", "4")
    plot = phone.locator(".plot:visible").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    devtools = phone.context.new_cdp_session(phone)
    devtools.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    for kind, part in (("touchStart", 0.5), ("touchMove", 0.6), ("touchMove", 0.75), ("touchEnd", None)):
        finger = [] if part is None else [{"x": box["x"] + part * box["width"], "y": box["y"] + 40}]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": finger})
    expect(phone.locator(".player .region:visible")).to_have_text("2.00–3.00 s")
    assert phone.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_inpaint_a_band_of_a_region(page, tmp_path):
    song = write_audio(make_music(4), tmp_path / "song.wav")
    open_tab(page, "Inpaint")
    upload(page, "inpaint-original", song)
    expect(page.get_by_label("range slider for To").locator("visible=true")).to_have_attribute("max", "4")
    page.get_by_label("number input for From").fill("1.5")
    page.get_by_label("number input for To").fill("2.5")
    page.get_by_label("Highest frequency").fill("2000")
    expect(page.locator(".player .region:visible")).to_have_text("1.50–2.50 s, 0–2000 Hz")
    hurry(page)
    page.get_by_label("Prompt", exact=True).locator("visible=true").fill("flute")
    page.get_by_label("Prompt", exact=True).locator("visible=true").press("Enter")
    sound, settings = result(page, tmp_path)
    assert settings["regions"] == [[1.5, 2.5, 0, 2000]]
    given, join = read_audio(song).samples, [round(second * 44100) for second in (1.5, 2.5)]
    assert (sound.samples[:, : join[0]] == given[:, : join[0]]).all()
    assert (sound.samples[:, join[1] :] == given[:, join[1] :]).all() and (sound.samples != given).any()


def test_inpaint_what_was_marked_by_dragging(page, tmp_path):
    open_tab(page, "Inpaint")
    upload(page, "inpaint-original", write_audio(make_music(4), tmp_path / "song.wav"))
    fields = [page.get_by_label(name, exact=True).locator("visible=true") for name in
              ("number input for From", "number input for To", "Lowest frequency", "Highest frequency")]
    expect(page.get_by_label("range slider for To").locator("visible=true")).to_have_attribute("max", "4")
    drag(page, (0.25, 0.5), (0.5, 0.9))
    for field, value in zip(fields, (1, 2, 0, 10000)):
        assert float(field.input_value()) == pytest.approx(value, abs=0.02)
    page.get_by_role("button", name="Time + band").click()
    drag(page, (0.25, 0.75), (0.5, 0.5))
    expect(fields[2]).not_to_have_value("0")
    low, high = (float(field.input_value()) for field in fields[2:])
    for hz, band in ((low, 127.5), (high, 255.5)):
        assert hz == pytest.approx(SpectrogramParams().band_to_hz(band), rel=0.03)
    click(page, 0.9)
    expect(fields[0]).to_have_value("1")  # a click seeks and marks nothing
    hurry(page)
    page.get_by_label("Prompt", exact=True).locator("visible=true").fill("flute")
    page.get_by_role("button", name="Generate").locator("visible=true").click()
    (region,) = result(page, tmp_path)[1]["regions"]
    assert region == [float(field.input_value()) for field in fields]


def test_inpaint_several_regions(page, tmp_path):
    open_tab(page, "Inpaint")
    upload(page, "inpaint-original", write_audio(make_music(4), tmp_path / "song.wav"))
    expect(page.get_by_label("range slider for To").locator("visible=true")).to_have_attribute("max", "4")
    drag(page, (0.25, 0.5), (0.375, 0.5))
    expect(page.locator(".player .region:visible")).to_have_text("1.00–1.50 s")
    page.get_by_role("button", name="Mark another one as well").click()
    drag(page, (0.75, 0.5), (0.875, 0.5))
    expect(page.locator(".player .region:visible")).to_have_text("1.00–1.50 s + 3.00–3.50 s")
    expect(page.locator(".kept:visible")).to_have_count(1)
    hurry(page)
    page.get_by_label("Prompt", exact=True).locator("visible=true").fill("flute")
    page.get_by_role("button", name="Generate").locator("visible=true").click()
    sound, settings = result(page, tmp_path)
    assert settings["regions"] == pytest.approx(np.array([[1, 1.5], [3, 3.5]]), abs=0.02)
    given = read_audio(tmp_path / "song.wav").samples
    changed = (sound.samples != given)[0].reshape(-1, 4410).any(1)  # tenths of a second
    assert changed[11:14].all() and changed[31:34].all() and not changed[16:29].any()

    page.get_by_role("button", name="Only this one").click()
    expect(page.locator(".player .region:visible")).to_have_text("3.00–3.50 s")
    page.get_by_label("Go on with flute").select_option(label="Use these settings")
    expect(page.locator(".player .region:visible")).to_have_text("1.00–1.50 s + 3.00–3.50 s")


def test_inpaint_example_brings_its_region(page, tmp_path):
    open_tab(page, "Inpaint")
    hurry(page)
    page.get_by_role("button", name="3 to 5 s → flute").click()
    assert result(page, tmp_path)[1]["regions"] == [[3, 5]]
    page.get_by_label("number input for To").fill("1")
    page.get_by_role("button", name="Generate").locator("visible=true").click()
    expect(page.locator(".toast-body")).to_contain_text("Expected a region of at least 0.1 s, got 3 to 1 s")


def test_extend_to_the_left(page, tmp_path):
    song = write_audio(make_music(2), tmp_path / "song.wav")
    open_tab(page, "Extend")
    upload(page, "extend-original", song)
    hurry(page)
    page.get_by_label("Seconds more").fill("1.5")
    page.get_by_label("before the beginning").check()
    page.get_by_label("Prompt", exact=True).locator("visible=true").fill("harp")
    page.get_by_role("button", name="Generate").locator("visible=true").click()
    sound, settings = result(page, tmp_path)
    assert sound.duration_s == 3.5 and settings["side"] == "left"
    assert (sound.samples[:, 66150:] == read_audio(song).samples).all()


def test_codec_both_ways(page, tmp_path):
    open_tab(page, "Codec")
    page.get_by_role("button", name="beat", exact=True).locator("visible=true").click()
    expect(page.get_by_alt_text("Spectrogram of the sound")).to_be_visible(timeout=WAIT_MS)
    with page.expect_download() as download:
        page.get_by_label("Download the sound").locator("visible=true").click()
    assert download.value.suggested_filename == "beat.wav"
    upload(page, "codec-original", write_audio(make_music(2), tmp_path / "song.mp3"))
    page.get_by_role("button", name="Make image").click()
    expect(page.get_by_alt_text("Spectrogram image with axes")).to_be_visible(timeout=WAIT_MS)
    with page.expect_download() as download:
        page.locator("a[download='song.png']:visible").click()
    file = tmp_path / "song.png"
    download.value.save_as(file)
    with Image.open(file) as image:
        assert image.height == 512 and has_params(image.getexif())


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
    page.get_by_label("Steps").fill("100")  # of which each may be too quick to be seen
    page.get_by_label("Prompt", exact=True).fill("funk")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_text(re.compile(r"Step \d+ of 100"))).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    expect(page.get_by_text("of 100")).to_have_count(0)


def test_who_waits_is_told_the_place_in_the_queue(page):
    other = Client(app_server.start().url, verbose=False)
    job = other.submit(prompt="techno", duration_s=120, steps=100, api_name="/text2audio")
    try:
        hurry(page)
        page.get_by_label("Prompt", exact=True).fill("funk")
        page.get_by_role("button", name="Generate").click()
        expect(page.locator(".underway")).to_contain_text("queue: 1/1", timeout=WAIT_MS)
        page.get_by_role("button", name="Cancel").click()  # who waits may also go
        expect(page.get_by_role("button", name="Generate")).to_be_visible()
    finally:
        job.cancel()
        other.close()


def test_phone_never_scrolls_sideways(phone, tmp_path):
    song = write_audio(make_music(2), tmp_path / "song.wav")
    for tab in ("Text to audio", "Audio to audio", "Interpolate", "Inpaint", "Extend", "Codec", "Draw", "About"):
        open_tab(phone, tab)
        if tab in ("Inpaint", "Extend", "Codec"):
            upload(phone, f"{tab.lower()}-original", song)
        unfold(phone)
        if tab not in ("Codec", "Draw", "About"):
            expect(phone.get_by_label("Negative prompt").locator("visible=true")).to_be_visible()
        phone.wait_for_timeout(500)
        assert phone.evaluate("document.documentElement.scrollWidth") == PHONE["width"], tab
        assert phone.locator("footer").inner_text().strip() == "Settings"  # no dot that divides it from nothing


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_page_does_not_jump_while_it_loads(browser, size):
    """Cumulative layout shift as browsers measure it (web.dev/articles/cls): up to 0.1 is good."""
    for page in opened(browser, size):
        page.add_init_script("""window.shifted = 0;
            new PerformanceObserver((list) => {
                for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
            }).observe({type: "layout-shift", buffered: true});""")
        page.reload()
        ready(page)
        page.wait_for_timeout(2000)
        assert page.evaluate("window.shifted") <= 0.1


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
