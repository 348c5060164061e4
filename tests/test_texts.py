"""The page in German: nothing is left out, nothing is left over, and programs still hear English."""

from __future__ import annotations

import re
from pathlib import Path

import app_server
import gradio as gr
import pytest
from browser import WAIT_MS
from playwright.sync_api import expect

import riffusion_space.ui
from riffusion_space.config import Config
from riffusion_space.ui.loading import PipelineLoader
from riffusion_space.ui.page import build_app
from riffusion_space.ui.texts import GERMAN, I18N, in_english

SOURCES = "\n".join(path.read_text(encoding="utf-8") for path in Path(riffusion_space.ui.__path__[0]).iterdir()
                    if path.suffix in (".py", ".js", ".html") and path.name != "texts.py")
# What is the same in every language, or made of numbers.
SAME = {"Original", "Note", "Tempo", "Pause", "Live"}
WITHOUT = re.compile(r".*\d bpm|[a-z0-9+]+( a)?|Regions|Settings|LoRA|owner/model")


@pytest.fixture(scope="module")
def app():
    return build_app(PipelineLoader(Config()), Config())


def test_every_label_is_translated(app):
    plain = set()
    for block in app.blocks.values():
        if getattr(block, "visible", True) is not True:
            continue
        shown = ["value"] if isinstance(block, (gr.Button, gr.Markdown)) else []
        for name in ("label", "info", "placeholder", *shown):
            text = getattr(block, name, None)
            if isinstance(text, str) and text and not WITHOUT.fullmatch(text):
                plain.add(text)
    assert not plain


def test_every_translation_is_of_something_that_the_page_says():
    sources = re.sub(r'"\s*\n?\s*f?"', "", SOURCES)  # texts that Python joins
    for text in GERMAN:
        words = text.removeprefix("4 ").replace("\n", "\\n")
        assert words in sources or words.lower() in sources, text


def test_translations_have_the_places_of_their_texts():
    for text, german in GERMAN.items():
        assert german.count("{}") == text.count("{}") and (german != text or text in SAME)


def test_programs_are_told_in_english(app):
    labels = [parameter["label"] for endpoint in app.get_api_info()["named_endpoints"].values()
              for parameter in endpoint["parameters"]]
    assert {"Prompt", "Negative prompt", "Strength"} <= set(labels)
    assert in_english({"a": [I18N("Prompt"), ("Seed", 1)]}) == {"a": ["Prompt", ["Seed", 1]]}


def test_german_browser_sees_german(browser):
    context = browser.new_context(locale="de-AT")
    page = context.new_page()
    page.goto(app_server.start().url)
    expect(page.get_by_role("tab", name="Zeichnen")).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_role("button", name="Erzeugen")).to_be_visible()
    expect(page.get_by_label("Beschreibung")).to_be_visible()
    expect(page.locator(".nothing:visible")).to_have_text(GERMAN["What you make is seen and heard here"])
    expect(page.get_by_label("Abspielen").first).to_have_attribute("title", "Abspielen (Leertaste)")
    context.close()
