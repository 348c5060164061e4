"""Makes the README's pictures, assets/screenshots/*.png, by driving the page: ``python scripts/screenshots.py``.

``python scripts/screenshots.py --every-tab FOLDER`` shoots all tabs instead, light and dark, wide and on a phone, to be
looked at after a change.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import app_server  # noqa: E402
from browser import chromium  # noqa: E402
from PIL import Image  # noqa: E402
from playwright.sync_api import Browser, Page, expect  # noqa: E402

FOLDER = ROOT / "assets" / "screenshots"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
WAIT_MS = 300_000
SEED = 7


def open_page(browser: Browser, size: dict[str, int], scheme: str) -> Page:
    page = browser.new_context(viewport=size, color_scheme=scheme).new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{app_server.start().url}/?__theme={scheme}")
    expect(page.locator(".banner.ready")).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_role("tab").first).to_be_visible()
    return page


def set_seed(page: Page) -> None:
    advanced = page.get_by_role("button", name="Advanced").locator("visible=true")
    advanced.click()
    page.get_by_label("Seed", exact=True).fill(str(SEED))
    advanced.click()


def take(page: Page, name: str) -> None:
    """Wait for the result and write the whole page as ``name``.png."""
    expect(page.get_by_alt_text("Spectrogram of the result").locator("visible=true")).to_be_visible(timeout=WAIT_MS)
    page.locator(".masthead").scroll_into_view_if_needed()
    page.mouse.move(0, 0)
    page.wait_for_timeout(1000)  # the axes are drawn after the file has been fetched
    shoot(page, name)


def shoot(page: Page, name: str) -> None:
    path = FOLDER / f"{name}.png"
    page.screenshot(path=path, full_page=True)
    with Image.open(path) as image:
        image.convert("RGB").save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


def every_tab(browser: Browser, folder: Path) -> None:
    """All tabs as they are at first, beside each other: a picture for each width and theme."""
    folder.mkdir(parents=True, exist_ok=True)
    for width, size in (("wide", DESKTOP), ("phone", PHONE)):
        for scheme in ("light", "dark"):
            page, shots = open_page(browser, size, scheme), []
            for tab in page.get_by_role("tab").all():
                tab.click()
                page.wait_for_timeout(700)
                shots.append(Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB"))
            sheet = Image.new("RGB", (sum(shot.width for shot in shots), max(shot.height for shot in shots)))
            for index, shot in enumerate(shots):
                sheet.paste(shot, (index * size["width"], 0))
            sheet.save(folder / f"{width}-{scheme}.png", optimize=True)


def text_to_audio(browser: Browser, name: str, size: dict[str, int], scheme: str) -> None:
    page = open_page(browser, size, scheme)
    set_seed(page)
    page.get_by_label("Prompt", exact=True).fill("church bells")
    page.get_by_role("button", name="Generate").click()
    take(page, name)


def audio_to_audio(browser: Browser) -> None:
    page = open_page(browser, DESKTOP, "light")
    page.get_by_role("tab", name="Audio to audio").click()
    set_seed(page)
    page.get_by_role("button", name="→").first.click()
    take(page, "audio2audio")


def interpolate(browser: Browser) -> None:
    page = open_page(browser, DESKTOP, "dark")
    page.get_by_role("tab", name="Interpolate").click()
    page.get_by_label("From").fill("church bells")
    page.get_by_label("To", exact=True).fill("jazz piano")
    page.get_by_label("Seed at the start").fill(str(SEED))
    page.get_by_role("button", name="Generate").click()
    take(page, "interpolate")


def live(browser: Browser) -> None:
    page = open_page(browser, DESKTOP, "dark")
    page.get_by_role("tab", name="Live").click()
    prompt = page.get_by_label("Prompt", exact=True).locator("visible=true")
    for text in ("techno, 130 bpm", "jazz piano", "ambient synth pad"):
        prompt.fill(text)
        page.get_by_role("button", name="Add to the queue").click()
    page.locator(".live .hold input").fill("8")
    page.get_by_label("Play without an end").click()
    expect(page.locator(".live .hearing")).to_have_text("jazz piano", timeout=WAIT_MS)
    page.wait_for_timeout(1500)
    shoot(page, "live")


def sections(browser: Browser) -> None:
    page = open_page(browser, DESKTOP, "light")
    page.get_by_role("tab", name="Sections").click()
    set_seed(page)
    page.get_by_role("button", name="Generate").click()
    take(page, "sections")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the README's pictures of the page.")
    parser.add_argument("--every-tab", type=Path, metavar="FOLDER", help="shoot all tabs instead")
    arguments = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        if arguments.every_tab:
            every_tab(browser, arguments.every_tab)
            sys.exit()
        text_to_audio(browser, "text2audio", DESKTOP, "light")
        text_to_audio(browser, "phone", PHONE, "dark")
        interpolate(browser)
        audio_to_audio(browser)
        sections(browser)
        live(browser)
