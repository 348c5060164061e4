"""The tab that explains, in a real browser."""

from __future__ import annotations

import app_server
from app_server import ROOT
from browser import WAIT_MS, open_tab
from playwright.sync_api import expect


def test_pictures_are_there_and_small(page):
    open_tab(page, "About")
    pictures = page.locator(".about img:visible").all()
    assert len(pictures) == 4
    for picture in pictures:
        picture.scroll_into_view_if_needed()
        expect(picture).to_have_js_property("complete", True)
        expect(picture).to_have_js_property("naturalWidth", 320)
    assert page.locator(".about .wave svg:visible").bounding_box()["width"] > 500
    assert sum(path.stat().st_size for path in (ROOT / "assets" / "about").iterdir()) < 300_000


def test_leads_to_how_it_is_called(page):
    open_tab(page, "About")
    page.get_by_role("link", name="how to call it").click()
    expect(page.get_by_role("heading", name="documentation")).to_be_visible()
    expect(page.get_by_text("text2audio").locator("visible=true").first).to_be_visible()


def test_explains_in_german_with_nothing_left_out(browser):
    context = browser.new_context(locale="de-AT")
    page = context.new_page()
    page.goto(app_server.start().url)
    page.get_by_role("tab", name="Über", exact=True).click()
    expect(page.get_by_role("heading", name="Wie es geht")).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_role("heading", name="How it works")).to_be_hidden()
    tags = "texts => texts.map(text => [...text.querySelectorAll('*')].map(each => each.tagName).join())"
    english, german = page.locator(".about").evaluate_all(tags)
    assert english == german
    context.close()


def test_nothing_beside_the_pictures_is_served(page):
    """What the tab lets be fetched by its path on the server is its own folder."""
    for path, allowed in (("assets/about/step-20.webp", True), ("assets/screenshots/phone.png", False),
                          ("README.md", False), ("assets/about/../screenshots/phone.png", False)):
        address = f"{page.url.partition('?')[0].rstrip('/')}/gradio_api/file={ROOT / path}"
        assert page.request.get(address).ok == allowed
