"""Going on with what was made: kept in the browser, sent to other tabs, used again; and what helps with a prompt."""

from __future__ import annotations

import re
from pathlib import Path

import app_server
import pytest
from browser import WAIT_MS, fill, hurry, open_tab, result, upload
from conftest import make_music
from playwright.sync_api import Page, expect

from riffusion_space import read_settings
from riffusion_space.audio import write_audio


def make(page: Page, prompt: str, cards: int) -> None:
    """Make a sound; as many cards are on the shelf then."""
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_role("button", name="Generate").click()
    expect(page.locator(".card")).to_have_count(cards, timeout=WAIT_MS)


def go(page: Page, prompt: str, where: str) -> None:
    page.get_by_label(f"Go on with {prompt}").select_option(label=where)


def send(page: Page, where: str) -> None:
    page.get_by_label("Go on with this result in").locator("visible=true").select_option(label=where)


def open_file(page: Page, file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Open a file made here").click()
    chooser.value.set_files(file)


@pytest.fixture
def shelf(page):
    """The page with a result of two steps."""
    hurry(page)
    page.get_by_label("Seed", exact=True).fill("7")
    make(page, "church bells", 1)
    return page


def test_results_stay_after_a_reload(shelf, tmp_path):
    shelf.reload()
    card = shelf.locator(".card")
    expect(card).to_have_count(1, timeout=WAIT_MS)
    expect(card.locator(".name")).to_have_text("church bells")
    expect(card.locator(".facts")).to_contain_text("Text to audio · seed 7")
    with shelf.expect_download() as download:
        shelf.get_by_label("Download church bells").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert read_settings(file)["seed"] == 7
    card.get_by_label("Play church bells").click()
    expect(card.get_by_label("Pause church bells")).to_be_visible()
    card.get_by_label("Pause church bells").click()


def test_settings_of_a_result_are_used_again(shelf):
    shelf.reload()
    expect(shelf.locator(".card")).to_have_count(1, timeout=WAIT_MS)
    open_tab(shelf, "Extend")
    go(shelf, "church bells", "Use these settings")
    expect(shelf.get_by_label("Prompt", exact=True).locator("visible=true")).to_have_value("church bells")
    shelf.get_by_role("button", name="Advanced").locator("visible=true").click()
    shelf.get_by_role("button", name="Settings ▼", exact=True).click()
    for label, value in (("Seed", "7"), ("Steps", "2"), ("Guidance", "1")):
        expect(shelf.get_by_label(label, exact=True).locator("visible=true")).to_have_value(value)


def test_result_goes_to_another_tab(shelf, tmp_path):
    send(shelf, "Extend")
    expect(shelf.get_by_alt_text("Spectrogram of the original").locator("visible=true")).to_be_visible(timeout=WAIT_MS)
    shelf.get_by_label("Prompt", exact=True).locator("visible=true").fill("harp")
    shelf.get_by_label("Seconds more").fill("1")
    shelf.get_by_role("button", name="Generate").locator("visible=true").click()
    sound, settings = result(shelf, tmp_path)
    assert settings["task"] == "extend" and sound.duration_s == pytest.approx(6.11, abs=0.001)
    expect(shelf.locator(".card")).to_have_count(2)


def test_result_goes_to_the_tabs_without_a_model_and_under_live_music(shelf):
    send(shelf, "Draw")
    canvas = shelf.get_by_role("application", name="Canvas for a spectrogram")
    drawn = "(canvas) => canvas.getContext('2d').getImageData(0, 0, 512, 512).data.some((value) => value < 200)"
    expect(shelf.get_by_role("button", name="Undo", exact=True).locator("visible=true")).to_be_enabled(timeout=WAIT_MS)
    assert canvas.evaluate(drawn)
    go(shelf, "church bells", "Send to Draw")  # the same file again
    expect(shelf.get_by_text("church-bells-text2audio-seed7").locator("visible=true")).to_have_count(0)
    go(shelf, "church bells", "Send to Codec")
    expect(shelf.get_by_alt_text("Spectrogram of the original").locator("visible=true")).to_be_visible(timeout=WAIT_MS)
    go(shelf, "church bells", "Send to Live")
    expect(shelf.get_by_role("tab", name="Live")).to_have_attribute("aria-selected", "true")
    expect(shelf.get_by_text("church-bells-text2audio-seed7").locator("visible=true").first).to_be_visible()


def test_kept_result_goes_to_another_tab_after_a_reload(shelf):
    shelf.reload()
    expect(shelf.locator(".card")).to_have_count(1, timeout=WAIT_MS)
    go(shelf, "church bells", "Send to Inpaint")
    expect(shelf.get_by_alt_text("Spectrogram of the original").locator("visible=true")).to_be_visible(timeout=WAIT_MS)
    expect(shelf.get_by_role("tab", name="Inpaint")).to_have_attribute("aria-selected", "true")
    go(shelf, "church bells", "Send to Text to audio")  # as the loop under it, which is folded away until then
    expect(shelf.get_by_text("church-bells-text2audio-seed7").locator("visible=true").first).to_be_visible()


def test_arrow_keys_only_pass_by_what_can_be_done(shelf):
    choice = shelf.get_by_label("Go on with church bells")
    for _ in range(3):
        choice.press("ArrowDown")
    expect(choice).to_have_value("audio2audio")
    shelf.wait_for_timeout(500)
    expect(shelf.get_by_role("tab", name="Text to audio")).to_have_attribute("aria-selected", "true")
    choice.press("Enter")
    expect(shelf.get_by_role("tab", name="Audio to audio")).to_have_attribute("aria-selected", "true")


def test_deleted_results_come_back_until_one_has_gone_on(shelf):
    shelf.get_by_label("Delete church bells").click()
    expect(shelf.locator(".card")).to_have_count(0)
    shelf.get_by_role("button", name="Undo").click()
    expect(shelf.locator(".card")).to_have_count(1)
    shelf.get_by_label("Delete church bells").click()
    shelf.reload()
    expect(shelf.locator(".banner.ready")).to_be_visible(timeout=WAIT_MS)
    shelf.wait_for_timeout(500)
    expect(shelf.locator(".card")).to_have_count(0)


def test_favourite_is_remembered(shelf):
    star = shelf.get_by_label("Keep church bells for good")
    star.click()
    shelf.reload()
    expect(star).to_have_attribute("aria-pressed", "true", timeout=WAIT_MS)


def test_two_results_are_compared_at_the_same_place(shelf):
    make(shelf, "flute", 2)
    for name in ("church bells", "flute"):
        shelf.get_by_label(f"Compare {name} with another").click()
    shelf.get_by_role("button", name="Play A and B").click()
    shelf.wait_for_function("parseFloat(document.querySelector('.compare .clock').textContent) > 0")
    sides = [shelf.get_by_role("button", name=f"{letter}: ", exact=False) for letter in "AB"]
    expect(sides[0]).to_have_attribute("aria-pressed", "true")
    before, after = sides[1].evaluate("""(side) => {
        const time = () => parseFloat(document.querySelector(".compare .clock").textContent), before = time();
        side.click();
        return [before, time()];
    }""")  # at once: however long a click takes from here, the music goes on meanwhile
    expect(sides[1]).to_have_attribute("aria-pressed", "true")
    assert before > 0 and before - 0.1 <= after < before + 1
    shelf.get_by_role("button", name="Stop comparing").click()
    expect(shelf.locator(".compare")).to_be_hidden()


def test_variations_stand_side_by_side(shelf):
    shelf.get_by_role("button", name="4 variations").locator("visible=true").click()
    expect(shelf.locator(".card")).to_have_count(5, timeout=WAIT_MS)
    facts = shelf.locator(".card .facts").all_text_contents()
    assert len({re.search(r"seed (\d+)", text)[1] for text in facts}) == 5
    expect(shelf.get_by_role("button", name="Generate")).to_be_visible()
    shelf.wait_for_timeout(1500)
    expect(shelf.locator(".card")).to_have_count(5)  # and no more


def test_cancel_ends_the_variations(shelf):
    shelf.get_by_role("button", name="4 variations").locator("visible=true").click()
    shelf.get_by_role("button", name="Cancel").click()  # while the first is under way
    make(shelf, "flute", 2)
    shelf.wait_for_timeout(1500)
    expect(shelf.locator(".card")).to_have_count(2)
    expect(shelf.get_by_role("button", name="Generate")).to_be_visible()


@pytest.mark.parametrize("how", ["opened", "dropped"])
def test_file_made_here_brings_its_settings(shelf, tmp_path, how):
    with shelf.expect_download() as download:
        shelf.get_by_label("Download church bells").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    open_tab(shelf, "Codec")
    if how == "opened":
        open_file(shelf, file)
    else:
        shelf.evaluate("""async ([name, bytes]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name, {type: 'audio/wav'}));
            document.querySelector('.masthead').dispatchEvent(
                new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}));
        }""", [file.name, list(file.read_bytes())])
    prompt = shelf.get_by_label("Prompt", exact=True).locator("visible=true")
    expect(prompt).to_have_value("church bells", timeout=WAIT_MS)
    expect(shelf.get_by_role("tab", name="Text to audio")).to_have_attribute("aria-selected", "true")


def test_file_of_another_making_is_refused(page, tmp_path):
    song = write_audio(make_music(1), tmp_path / "song.wav")
    open_file(page, song)
    expect(page.locator(".toast-body")).to_contain_text("Expected a file made here, but song.wav holds no settings")


def test_link_asks_for_the_same_again(shelf):
    shelf.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shelf.get_by_role("button", name="Copy link").locator("visible=true").click()
    expect(shelf.get_by_role("button", name="Copied")).to_be_visible()
    link = shelf.evaluate("navigator.clipboard.readText()")
    assert link.startswith(app_server.start().url) and "prompt=church+bells" in link
    shelf.goto(link)
    expect(shelf.get_by_label("Prompt", exact=True)).to_have_value("church bells", timeout=WAIT_MS)
    shelf.get_by_role("button", name="Advanced").locator("visible=true").click()
    expect(shelf.get_by_label("Seed", exact=True)).to_have_value("7")


@pytest.mark.parametrize("query, label, value", [
    ("task=interpolate&prompt_a=harp&prompt_b=banjo&seed=5", "To", "banjo"),
    ("task=text2audio&prompt=%3Cb%3E&steps=many&nonsense=1&scheduler=no", "Prompt", "<b>"),
    ("task=nothing&prompt=harp", "Prompt", ""),
    ("task=stream&prompt=rain&wildness=0.2", "number input for How wild", "0.2"),
])
def test_links_of_any_kind(page, query, label, value):
    page.goto(f"{app_server.start().url}/?{query}")
    expect(page.locator(".banner.ready")).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_label(label, exact=True).locator("visible=true")).to_have_value(value)


def test_words_make_a_prompt(page):
    page.get_by_role("button", name="Words it knows").locator("visible=true").click()
    prompt = page.get_by_label("Prompt", exact=True)
    for word, text in (("harp", "harp"), ("happy", "happy harp"), ("120 bpm", "happy harp, 120 bpm"),
                       ("harp", "happy harp, 120 bpm"), ("jazz", "happy harp, 120 bpm, jazz")):
        page.locator(".chips button:visible").get_by_text(word, exact=True).click()
        expect(prompt).to_have_value(text)
    expect(page.locator(".chips button:visible").get_by_text("bagpipes", exact=True)).to_be_visible()  # embedded's own
    page.get_by_role("button", name="Surprise me").locator("visible=true").click()
    expect(prompt).not_to_have_value("happy harp, 120 bpm, jazz")


# Whatever is shown of the work under way, however briefly.
WATCH = """() => {
    const seen = window.seen = { sketches: [], texts: [] };
    const look = () => {
        for (const sketch of document.querySelectorAll("img[alt='The picture so far']")) seen.sketches.push(sketch.src);
        for (const place of document.querySelectorAll(".underway")) seen.texts.push(place.textContent);
    };
    new MutationObserver(look).observe(document.body, {
        childList: true, subtree: true, characterData: true, attributeFilter: ["src"],
    });
}"""


def test_picture_appears_while_it_is_painted(page):
    page.get_by_role("button", name="Settings ▼", exact=True).click()
    fill(page, "Steps", "100")
    page.get_by_label("Prompt", exact=True).fill("church bells")
    page.evaluate(WATCH)
    page.get_by_role("button", name="Generate").click()
    expect(page.locator(".card")).to_have_count(1)
    sketches, texts = page.evaluate("[[...new Set(window.seen.sketches)], [...new Set(window.seen.texts)]]")
    assert len(sketches) > 1 and all(sketch.startswith("data:image/png") for sketch in sketches)
    assert any(re.search(r"Step \d+ of 100 · \d+ s left", text) for text in texts), texts
    expect(page.get_by_alt_text("The picture so far")).to_have_count(0)


def test_original_of_one_tab_is_not_that_of_another(page, tmp_path):
    open_tab(page, "Extend")
    upload(page, "extend-original", write_audio(make_music(2), tmp_path / "song.wav"))
    open_tab(page, "Inpaint")
    expect(page.get_by_alt_text("Spectrogram of the original").locator("visible=true")).to_have_count(0)
