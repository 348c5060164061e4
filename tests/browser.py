"""A headless Chromium for the tests and the screenshots: one that is installed, else Playwright's own.

And what people do on the page, again and again.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import app_server
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from riffusion_space import Waveform, read_audio, read_settings

WAIT_MS = 60_000
expect.set_options(timeout=WAIT_MS)  # Playwright's own 5 s are little on a machine that is busy
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    installed = next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed, args=ARGUMENTS)
        yield browser
        browser.close()


def opened(browser: Browser, size: dict) -> Iterator[Page]:
    """A fresh page; when it is done with, nothing has gone wrong in it and nothing has left this machine."""
    context = browser.new_context(viewport=size)
    context.set_default_timeout(WAIT_MS)
    page, crashes, hosts = context.new_page(), [], set()
    page.on("pageerror", lambda error: crashes.append(error))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    page.goto(app_server.start().url)
    ready(page)
    yield page
    context.close()
    assert not crashes
    assert hosts <= {"127.0.0.1", None}  # None: data: and blob:


def ready(page: Page) -> None:
    """Wait for the checkpoint, and for the tabs, which are shown when all of them is there."""
    expect(page.locator(".banner.ready")).to_contain_text("embedded", timeout=WAIT_MS)
    expect(page.get_by_role("tab").first).to_be_visible()


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def unfold(page: Page) -> None:
    """Open all that the tab can unfold."""
    folded = page.locator("button.label-wrap:not(.open)").locator("visible=true")
    for _ in range(20):  # one may hold others
        if folded.count():
            folded.first.click()
    expect(folded).to_have_count(0)


def hurry(page: Page) -> None:
    """Two steps will do. Leaves the settings open."""
    page.get_by_role("button", name="Advanced").locator("visible=true").click()
    page.get_by_role("button", name="Settings ▼", exact=True).click()
    fill(page, "Steps", "2")
    fill(page, "Guidance", "1")


def fill(page: Page, label: str, value: str) -> None:
    """Type into a field that has just been unfolded: Gradio shows such fields, then sets them once more."""
    field = page.get_by_label(label, exact=True).locator("visible=true")
    for _ in range(10):
        field.fill(value)
        page.evaluate("() => new Promise((done) => setTimeout(() => requestIdleCallback(done), 300))")
        if field.input_value() == value:
            return
    raise AssertionError(f"{label} does not keep {value}")


def result(page: Page, tmp_path: Path, label: str = "Spectrogram of the result") -> tuple[Waveform, dict]:
    """Wait for what was made; the sound and the settings inside the file that the page offers."""
    picture = page.get_by_alt_text(label).locator("visible=true")
    expect(picture).to_be_visible(timeout=WAIT_MS)
    with Image.open(io.BytesIO(page.request.get(picture.get_attribute("src")).body())) as image:
        assert image.width > 500
    expect(page.locator(".block.caption:visible")).to_contain_text("Seed")
    with page.expect_download() as download:
        page.get_by_label("Download the sound").locator("visible=true").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    return read_audio(file), read_settings(file)


def upload(page: Page, place: str, song: Path) -> None:
    page.locator(f"#{place} input[type=file]").set_input_files(song)
    expect(page.get_by_alt_text("Spectrogram of the original").locator("visible=true")).to_be_visible(timeout=WAIT_MS)
