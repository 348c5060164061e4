"""The tab where a spectrogram is drawn, in a real browser."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from browser import PHONE, WAIT_MS, open_tab
from conftest import make_music
from PIL import Image
from playwright.sync_api import Page, expect

from riffusion_space import read_audio
from riffusion_space.audio import Waveform, write_audio
from riffusion_space.seed_images import built_in
from riffusion_space.spectrogram import SpectrogramParams


@pytest.fixture
def drawing(page):
    open_tab(page, "Draw")
    return page


def stroke(page: Page, *points: tuple[float, float]) -> None:
    """Draw from point to point, each as parts of the canvas's width and of its height from the top."""
    box = page.locator("canvas:visible").bounding_box()
    for number, (right, down) in enumerate(points):
        page.mouse.move(box["x"] + right * box["width"], box["y"] + down * box["height"], steps=4)
        if number == 0:
            page.mouse.down()
    page.mouse.up()


def pixels(page: Page) -> np.ndarray:
    """What is on the canvas, grey, row by row from the top."""
    url = page.locator("canvas:visible").evaluate("(sheet) => sheet.toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return np.asarray(image.convert("L")).astype(int)


def choose(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).locator("visible=true").click()


def heard(page: Page, tmp_path) -> Waveform:
    """Press the button, and wait for the sound."""
    choose(page, "Hear it")
    expect(page.get_by_alt_text("Spectrogram of the drawing").locator("visible=true")).to_be_visible(timeout=WAIT_MS)
    with page.expect_download() as download:
        page.get_by_label("Download the sound").locator("visible=true").click()
    assert download.value.suggested_filename == "drawing.wav"
    download.value.save_as(tmp_path / "drawing.wav")
    return read_audio(tmp_path / "drawing.wav")


def loudest_hz(sound: Waveform, start: float, end: float) -> float:
    part = sound.samples[0, int(start * sound.sample_rate) : int(end * sound.sample_rate)]
    return np.abs(np.fft.rfft(part * np.hanning(len(part)))).argmax() * sound.sample_rate / len(part)


def test_line_is_heard_where_it_was_drawn(drawing, tmp_path):
    stroke(drawing, (0.0, 0.5), (0.5, 0.5))
    stroke(drawing, (0.5, 0.75), (1.0, 0.75))
    sound = heard(drawing, tmp_path)
    assert sound.num_samples == 511 * 441 and sound.peak == pytest.approx(10 ** (-1 / 20), abs=1e-3)
    of_band = SpectrogramParams().band_to_hz
    assert loudest_hz(sound, 0.5, 2.0) == pytest.approx(of_band(255.5), rel=0.03)
    assert loudest_hz(sound, 3.0, 4.5) == pytest.approx(of_band(127.5), rel=0.03)


def test_note_has_overtones(drawing):
    choose(drawing, "Note")
    stroke(drawing, (0.2, 0.9), (0.8, 0.9))
    column = pixels(drawing)[:, 256]
    fundamental = SpectrogramParams().band_to_hz(511 - 0.9 * 512)
    for number in (1, 2, 3, 8):
        row = 511 - round(SpectrogramParams().hz_to_band(number * fundamental))
        assert column[row] == pytest.approx(255 * (1 - number**-0.25), abs=3)
    assert column[256 - 100 :].max() == 255 and (column < 128).sum() > 20


def test_adds_to_what_is_there_and_the_eraser_takes_away(drawing):
    stroke(drawing, (0.1, 0.5), (0.9, 0.5))
    choose(drawing, "Soft")
    stroke(drawing, (0.5, 0.1), (0.5, 0.9))
    assert pixels(drawing)[256, 256] == 0 and pixels(drawing)[100, 256] == pytest.approx(153, abs=1)
    choose(drawing, "Eraser")
    drawing.get_by_label("Width of the pen").fill("40")
    stroke(drawing, (0.5, 0.1), (0.5, 0.9))
    assert (pixels(drawing)[100:400, 240:272] == 255).all() and pixels(drawing)[256, 200] == 0


def test_undo_redo_and_blank(drawing):
    stroke(drawing, (0.1, 0.5), (0.9, 0.5))
    stroke(drawing, (0.1, 0.2), (0.9, 0.2))
    both = pixels(drawing)
    drawing.get_by_role("button", name="Undo").click()
    assert (pixels(drawing)[60:140] == 255).all() and pixels(drawing).min() == 0
    drawing.get_by_role("button", name="Redo").click()
    assert (pixels(drawing) == both).all()
    drawing.get_by_role("button", name="Blank canvas").click()
    assert (pixels(drawing) == 255).all()
    choose(drawing, "Hear it")
    expect(drawing.locator(".toast-body")).to_contain_text("Expected something drawn: the canvas is white")
    drawing.get_by_role("button", name="Undo").click()
    assert (pixels(drawing) == both).all()


def test_loop_is_changed_and_heard(drawing, tmp_path):
    drawing.get_by_label("Thumbnail 5 of").locator("visible=true").click()
    expect(drawing.locator(".canvas .hint")).to_be_hidden()
    with Image.open(built_in()[4].path) as image:
        loop = np.asarray(image.convert("L")).astype(int)
    assert (pixels(drawing) == loop).all()
    choose(drawing, "Eraser")
    drawing.get_by_label("Width of the pen").fill("48")
    for down in np.linspace(0.01, 0.99, 14):
        stroke(drawing, (0.5, down), (0.999, down))
    assert (pixels(drawing)[:, 290:] == 255).all() and (pixels(drawing)[:, :230] == loop[:, :230]).all()
    sound = heard(drawing, tmp_path).samples
    assert np.abs(sound[:, 150_000:]).max() < 0.02 * np.abs(sound).max()


def test_files_of_ones_own(drawing, tmp_path):
    files = drawing.locator("#draw-file input[type=file]")
    files.set_input_files(write_audio(make_music(6), tmp_path / "song.mp3"))
    expect(drawing.locator(".canvas .hint")).to_be_hidden(timeout=WAIT_MS)
    assert pixels(drawing).min() < 10
    expect(drawing.locator("#draw-file").get_by_text("song.mp3")).to_have_count(0)  # there is place for the next
    (tmp_path / "words.png").write_text("these are words")
    files.set_input_files(tmp_path / "words.png")
    expect(drawing.locator(".toast-body")).to_contain_text("'words.png' is none or is damaged")
    assert pixels(drawing).min() < 10  # what was there stays


def test_by_keyboard(drawing, tmp_path):
    middle = SpectrogramParams().band_to_hz(255.5)
    sheet = drawing.get_by_role("application", name="Canvas for a spectrogram")
    drawing.get_by_role("button", name="Blank canvas").focus()
    drawing.keyboard.press("Tab")
    expect(sheet).to_be_focused()
    expect(drawing.locator(".canvas .pen")).to_be_visible()
    drawing.keyboard.press("Space")
    for _ in range(20):
        drawing.keyboard.press("ArrowRight")
    expect(drawing.locator(".canvas .place")).to_have_text(f"2.88 s, {middle:.0f} Hz, pen down")
    drawing.keyboard.press("Space")
    drawing.keyboard.press("ArrowRight")
    row = pixels(drawing)[256]
    assert (row[130:286] == 0).all() and (row[300:] == 255).all()
    drawing.keyboard.press("Control+z")
    assert (pixels(drawing) == 255).all()
    drawing.keyboard.press("Control+y")
    assert loudest_hz(heard(drawing, tmp_path), 1.5, 2.5) == pytest.approx(middle, rel=0.03)


def test_finger_draws_and_the_page_stays(phone):
    open_tab(phone, "Draw")
    sheet, devtools = phone.locator("canvas:visible"), phone.context.new_cdp_session(phone)
    devtools.send("Emulation.setTouchEmulationEnabled", {"enabled": True})  # its buttons are larger
    sheet.scroll_into_view_if_needed()
    box, before = sheet.bounding_box(), phone.evaluate("scrollY")
    for kind, part in (("touchStart", 0.2), ("touchMove", 0.5), ("touchMove", 0.8), ("touchEnd", None)):
        finger = [] if part is None else [
            {"x": box["x"] + part * box["width"], "y": box["y"] + part * box["height"]}]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": finger})
    expect(phone.locator(".canvas .hint")).to_be_hidden()
    drawn = pixels(phone)
    assert all(drawn[round(part * 512), round(part * 512)] == 0 for part in (0.25, 0.5, 0.75))
    assert phone.evaluate("scrollY") == before
    assert phone.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
