"""axe-core on every tab, light and dark, on a desktop and on a phone: no serious fault, and no critical one."""

from __future__ import annotations

from collections.abc import Sequence

import app_server
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import DESKTOP, PHONE, WAIT_MS, open_tab, opened, ready, unfold
from playwright.sync_api import Browser, Page, expect

# Faults in Gradio's own elements that cannot be mended from here: rule, what the element's HTML begins with, and why.
EXCEPTIONS = (
    # A file to come: Gradio names the empty place on an element without a role. There is nothing to be read in it.
    ("aria-prohibited-attr", '<div aria-label="Empty value" class="empty'),
)


def faults(page: Page, rules: Sequence[str] = ()) -> list[str]:
    """A line for each serious or critical fault of the page as it stands, beside the exceptions; of all rules or some.
    """
    options = {"resultTypes": ["violations"], **({"runOnly": {"type": "rule", "values": list(rules)}} if rules else {})}
    found, response = [], Axe().run(page, options=options).response
    assert {"color-contrast", *rules} <= {ran["id"] for kind in ("passes", "violations") for ran in response[kind]}
    for violation in response["violations"]:
        for node in violation["nodes"]:
            excepted = any(violation["id"] == rule and node["html"].startswith(start) for rule, start in EXCEPTIONS)
            if violation["impact"] in ("serious", "critical") and not excepted:
                found.append(f"{violation['id']}: {node['html']:.120} {node['failureSummary']}")
    return found


def fill(page: Page, tab: str) -> None:
    """Open what the tab can unfold, and have a loop and a sound in its players."""
    unfold(page)
    if tab in ("Text to audio", "Draw"):
        page.get_by_label("Thumbnail 1 of").locator("visible=true").click()
    if tab == "Text to audio":
        expect(page.get_by_alt_text("Spectrogram of the loop").locator("visible=true")).to_be_visible(timeout=WAIT_MS)
    if tab == "Draw":
        expect(page.locator(".canvas .hint")).to_be_hidden()
        page.get_by_role("button", name="Hear it").click()
        expect(page.get_by_alt_text("Spectrogram of the drawing").locator("visible=true")).to_be_visible(
            timeout=WAIT_MS)
    if tab == "Live":
        page.get_by_label("Prompt", exact=True).locator("visible=true").fill("funk")
        page.get_by_role("button", name="Add to the queue").click()
        expect(page.get_by_label("A prompt to come")).to_be_visible()
    page.wait_for_timeout(700)  # what unfolds or comes in is transparent at first


def background(page: Page) -> str:
    return page.evaluate("getComputedStyle(document.querySelector('gradio-app')).backgroundColor")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_tab_has_a_serious_fault(browser: Browser, size: dict):
    for page in opened(browser, size):
        page.emulate_media(reduced_motion="reduce")
        page.goto(f"{app_server.start().url}/?__theme=light")
        ready(page)
        tabs = [tab.inner_text() for tab in page.get_by_role("tab").all()]
        assert len(tabs) >= 8
        found, light = {}, background(page)
        for tab in tabs:
            open_tab(page, tab)
            fill(page, tab)
            found[tab] = faults(page)
            page.evaluate("document.body.classList.add('dark')")  # as Gradio does for ?__theme=dark
            page.wait_for_timeout(300)  # colours glide
            assert background(page) != light
            found[f"{tab}, dark"] = faults(page, ["color-contrast"])  # as nothing but colours differs
            page.evaluate("document.body.classList.remove('dark')")
        assert not any(found.values()), found
