"""The tab of sections as people use it: blocks, editor, ready-made pieces, one section anew; and the morph's."""

from __future__ import annotations

import numpy as np
import pytest
from browser import WAIT_MS, fill, open_tab, result
from playwright.sync_api import Page, expect


def edit(page: Page, label: str, value: str) -> None:
    page.locator(".editor").get_by_label(label, exact=True).fill(value)


@pytest.fixture
def sections(page):
    """Two sections of a bar, a second each, of two steps and without loops."""
    open_tab(page, "Sections")
    page.get_by_role("button", name="Settings ▼", exact=True).click()
    fill(page, "Steps", "2")
    fill(page, "Guidance", "1")
    page.get_by_role("button", name="Advanced").locator("visible=true").click()
    page.get_by_label("number input for Steadiness").locator("visible=true").fill("0")
    blocks = page.locator(".blocks .block")
    while blocks.count() > 2:
        page.get_by_role("button", name="Remove").click()
    for index in range(2):
        blocks.nth(index).click()
        edit(page, "Bars", "1")
        edit(page, "What it plays", ("harp", "funk")[index])
    page.get_by_label("Tempo", exact=True).locator("visible=true").fill("240")
    expect(page.locator(".total")).to_have_text("2 bars · 2.0 s")
    return page


def test_sections_are_made_and_one_of_them_anew(sections, tmp_path):
    sections.get_by_role("button", name="Generate").click()
    first, settings = result(sections, tmp_path)
    assert [(part["prompt"], part["bars"]) for part in settings["sections"]] == [("harp", 1), ("funk", 1)]
    assert first.num_samples == 88_200 and settings["bpm"] == 240
    expect(sections.locator(".card")).to_have_count(1, timeout=WAIT_MS)
    sections.locator(".blocks .block").nth(1).click()
    sections.get_by_role("button", name="Make this section anew").click()
    expect(sections.locator(".card")).to_have_count(2, timeout=WAIT_MS)
    second, settings = result(sections, tmp_path)
    assert settings["anew"] == 2 and "seed" in settings["sections"][1]
    assert np.array_equal(second.samples[:, :44_100], first.samples[:, :44_100])
    assert not np.array_equal(second.samples[:, 44_100:], first.samples[:, 44_100:])
    expect(sections.locator(".editor").get_by_label("Seed of its own")).to_have_value(
        str(settings["sections"][1]["seed"]))


def test_blocks_are_moved_added_and_removed_on_a_phone(phone):
    open_tab(phone, "Sections")
    blocks, names = phone.locator(".blocks .block"), phone.locator(".blocks .called")
    expect(names).to_have_text(["intro", "verse", "build", "drop", "outro"])
    widths = [blocks.nth(index).bounding_box()["width"] for index in (1, 2)]
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.1)  # 4 bars and 2
    blocks.nth(0).click()
    phone.get_by_role("button", name="Move the section to the right").click()
    expect(names).to_have_text(["verse", "intro", "build", "drop", "outro"])
    edit(phone, "Section", "bridge")
    phone.get_by_role("button", name="Add a section").click()
    expect(names).to_have_text(["verse", "bridge", "bridge", "build", "drop", "outro"])
    phone.get_by_role("button", name="Remove").click()
    expect(names).to_have_text(["verse", "bridge", "build", "drop", "outro"])
    phone.get_by_label("Begin with").select_option("slow morning")
    expect(names).to_have_text(["intro", "verse", "chorus", "outro"])
    expect(phone.get_by_label("Tempo", exact=True).locator("visible=true")).to_have_value("96")
    expect(phone.locator(".total")).to_have_text("12 bars · 30.0 s")
    phone.get_by_role("button", name="Undo").click()  # what one has made is not lost to a ready-made piece
    expect(names).to_have_text(["verse", "bridge", "build", "drop", "outro"])
    expect(phone.get_by_label("Tempo", exact=True).locator("visible=true")).not_to_have_value("96")
    expect(phone.get_by_role("button", name="Undo")).to_be_enabled()  # the steps before it can be taken back as well


def test_without_a_piece_no_section_is_made_anew(page):
    open_tab(page, "Sections")
    page.get_by_role("button", name="Make this section anew").click()
    expect(page.locator(".toast-body")).to_contain_text("generate it first", timeout=WAIT_MS)
