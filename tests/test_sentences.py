"""What the server says in German: progress and errors, as the code really says them."""

from __future__ import annotations

import re
from pathlib import Path

import app_server
import gradio as gr
import pytest
from browser import WAIT_MS
from playwright.sync_api import expect

import riffusion_space
from riffusion_space.arguments import check_arguments
from riffusion_space.audio import read_audio
from riffusion_space.config import Config
from riffusion_space.images import read_image
from riffusion_space.ui.canvas import from_value
from riffusion_space.ui.sentences import GERMAN, said
from riffusion_space.ui.worker import sentence

SOURCES = "\n".join(path.read_text(encoding="utf-8") for path in Path(riffusion_space.__path__[0]).rglob("*.py")
                    if path.name != "sentences.py")


def test_every_sentence_is_one_that_the_server_says():
    sources = re.sub(r'"\s*\n?\s*f?"', "", SOURCES).replace(
        "prompt_b or seed_b", "To (prompt_b) or Seed at the end (seed_b)")
    for text in GERMAN:
        for part in filter(None, text.removesuffix(".").split("{}")):
            assert part in sources or part[0].lower() + part[1:] in sources, text


def test_a_translation_has_the_places_of_its_sentence():
    for text, german in GERMAN.items():
        assert german.count("{}") == text.count("{}") and german != text


@pytest.mark.parametrize("arguments, german", [
    ({"duration_s": 999.0}, "Dauer (duration_s): erwartet wird 1 bis 180, nicht 999.0."),
    ({"steps": 0}, "Schritte: erwartet wird eine ganze Zahl von 1 bis 100, nicht 0."),
    ({"prompt": "a" * 20_000}, "Beschreibung: höchstens 2000 Zeichen, nicht 20000."),
    ({"bars": 4}, "Zu den Takten fehlt das Tempo, das sagt, wie lang einer ist."),
    ({"bars": 200, "bpm": 60.0}, "Die Takte sollen 1 bis 180 s dauern; 200 bei 60 Schlägen pro Minute sind 800.0 s."),
    ({"prompt_a": "rain", "prompt_b": ""},
     "Es fehlt, wohin es gehen soll: eine Beschreibung oder ein Startwert am Ende."),
    ({"regions": [[1, 1.01]]}, "Die Auswahl soll mindestens 0.1 s lang sein, nicht von 1 bis 1.01 s."),
    ({"regions": [[1, 2, 200, 210]]},
     "Das Band soll mindestens 50 Hz breit sein und zwischen 0 und 10000 Hz liegen, nicht 200 bis 210 Hz."),
])
def test_bad_input_is_refused_in_german(arguments, german):
    with pytest.raises(ValueError) as refused:
        check_arguments(Config(), **arguments)
    assert said(sentence(refused.value), "de") == german
    assert said(sentence(refused.value), "en") == sentence(refused.value)


def test_bad_files_are_refused_in_german(tmp_path):
    file, damaged = tmp_path / "song.wav", tmp_path / "damaged.wav"
    file.write_bytes(b"")
    damaged.write_bytes(b"no sound at all" * 100)
    for read, german in ((read_audio, "'song.wav' ist leer."),
                         (lambda _: read_audio(damaged), "'damaged.wav' ist keine Audiodatei, oder ist beschädigt."),
                         (read_image, "'song.wav' ist kein Bild, oder ist beschädigt."),
                         (lambda _: from_value(None), GERMAN["Expected something drawn: the canvas is white, which is "
                                                             "silence."])):
        with pytest.raises(ValueError) as refused:
            read(file)
        assert said(sentence(refused.value), "de") == german


def test_what_has_no_translation_stays_as_it_is():
    for text in ("Expected the impossible.", "Expected bars of section 2 from 1 to 64, got 0.",
                 "Expected " + " from " * 20_000 + " to "):
        assert said(text, "de") == text


def test_a_german_browser_is_told_in_german_and_an_english_one_in_english(browser):
    url = app_server.start().url
    for locale, tab, button, told in (("de-AT", "Klang zu Klang", "Erzeugen", "Es fehlt ein Klang: hochladen"),
                                      ("en-GB", "Audio to audio", "Generate", "Expected a sound to restyle")):
        context = browser.new_context(locale=locale)
        page = context.new_page()
        page.goto(f"{url}?steps=2")
        page.get_by_role("tab", name=tab).click()
        page.get_by_role("button", name=button).locator("visible=true").click()
        expect(page.get_by_text(told)).to_be_visible(timeout=WAIT_MS)
        context.close()


def test_gradio_still_shows_the_message_that_is_translated():
    """What CheckedBlocks changes is an attribute of Gradio's own error."""
    assert gr.Error("a").message == "a"
