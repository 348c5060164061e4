"""Who waits, and whose connection breaks: what was entered stays, what was asked for goes on."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import app_server
import gradio as gr
import pytest
from browser import DESKTOP, WAIT_MS, fill, hurry, open_tab, upload
from conftest import make_music
from gradio_client import Client
from playwright.sync_api import Page, expect

from riffusion_space.audio import write_audio
from riffusion_space.config import Config
from riffusion_space.request import Cancelled
from riffusion_space.ui import worker
from riffusion_space.ui.line import Line
from riffusion_space.ui.loading import PipelineLoader

LONG = {"prompt": "techno", "duration_s": 120, "steps": 100}


def opened(browser, url: str) -> Page:
    page = browser.new_context(viewport=DESKTOP).new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(url)
    expect(page.locator(".banner.ready")).to_be_visible(timeout=WAIT_MS)
    return page


def test_who_is_away_keeps_the_place_in_the_line():
    async def scene() -> list[str]:
        line, away, seen, told = Line(1, 3), {"second"}, [], []
        leave = asyncio.Event()

        async def come(name: str) -> None:
            async with line.seat(lambda: name in away, told.append):
                seen.append(name)
                await leave.wait()
                if name == "third":
                    away.clear()

        everybody = [asyncio.create_task(come(name)) for name in ("first", "second", "third", "fourth")]
        await asyncio.sleep(0.1)
        with pytest.raises(ValueError, match="the queue is full"):
            async with line.seat(lambda: False, told.append):
                pass
        leave.set()
        await asyncio.gather(*everybody)
        assert "In the queue: 3/3" in told
        return seen

    assert asyncio.run(scene()) == ["first", "third", "second", "fourth"]


def test_who_waits_may_go():
    async def scene() -> None:
        line = Line(1, 3)

        def gone(_: str) -> None:
            raise RuntimeError

        async with line.seat(lambda: False, gone):
            with pytest.raises(RuntimeError):
                async with line.seat(lambda: False, gone):
                    pass
            assert not line.is_wanted and line.inside == 1
        assert line.inside == 0

    asyncio.run(scene())


@pytest.mark.parametrize("is_soon_back", [True, False])
def test_what_is_made_waits_a_while_for_a_page_that_is_gone(monkeypatch, is_soon_back):
    monkeypatch.setattr(worker, "AWAY_S", 0.3)

    def make(folder: Path, flag: worker.CancelFlag) -> str:
        for _ in range(40):
            time.sleep(0.05)
            if flag.is_set():
                raise Cancelled
        return "made"

    async def scene() -> None:
        works = worker.Worker(PipelineLoader(Config()), Config())
        monkeypatch.setattr(works, "_make_on_gpu", lambda task, arguments, folder, flag: make(folder, flag))
        before, after = (SimpleNamespace(session_hash=name, headers={}) for name in ("before", "after"))
        works.arrived("ticket", "", "before")
        asked = asyncio.create_task(works.run("text2audio", before, prompt="harp"))
        await asyncio.sleep(0.1)
        await works.left(before)
        while works._jobs and not is_soon_back:
            await asyncio.sleep(0.05)
        works.arrived("another ticket", "text2audio", "other")
        works.arrived("ticket", "text2audio", "after")
        offered = [job.offered_to for job in works._jobs]
        assert offered == (["after"] if is_soon_back else [])
        assert await works.run("text2audio", after, prompt="harp") == "made"
        if is_soon_back:
            assert await asked == "made"
        else:
            with pytest.raises(gr.Error, match="Cancelled"):
                await asked

    asyncio.run(scene())


def test_a_request_goes_on_when_the_connection_breaks(browser, tiny_folder):
    server = app_server.start(str(tiny_folder))
    page = opened(browser, server.url)
    hurry(page)
    fill(page, "Steps", "80")
    fill(page, "Duration", "20")
    page.get_by_label("Prompt", exact=True).fill("church bells")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator(".underway")).to_contain_text("Finding a beat")
    with page.expect_navigation(timeout=WAIT_MS):  # Gradio loads the page anew, once the server answers again
        page.context.set_offline(True)
        expect(page.get_by_text("Connection to the server was lost")).to_be_visible()
        page.context.set_offline(False)
    expect(page.locator(".notice")).to_contain_text("What you asked for goes on")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("church bells")
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    expect(page.locator(".card")).to_have_count(1, timeout=3 * WAIT_MS)
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    made = [path for path in server.files.rglob("church-bells*.wav") if "seed" in path.name]
    assert len({path.name for path in made}) == 1  # seeds are drawn: what was made again would have another name

    page.reload()
    expect(page.locator(".card")).to_have_count(1)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("")  # nothing is under way any more
    expect(page.locator(".notice")).to_be_hidden()
    page.context.close()


def test_what_was_entered_and_uploaded_is_put_back(browser, tiny_folder, tmp_path):
    """Also where the request itself did not reach the server, which is then sent once more."""
    page = opened(browser, app_server.start(str(tiny_folder)).url)
    open_tab(page, "Inpaint")
    upload(page, "inpaint-original", write_audio(make_music(3), tmp_path / "song.wav"))
    page.get_by_label("number input for From").fill("1.5")
    page.get_by_label("Prompt", exact=True).locator("visible=true").fill("harp")
    page.wait_for_function("(sessionStorage['riffusion fields'] ?? '').includes('harp')")
    with page.expect_navigation(timeout=WAIT_MS):
        page.context.set_offline(True)
        page.get_by_role("button", name="Generate").locator("visible=true").click()
        expect(page.get_by_text("Connection to the server was lost")).to_be_visible()
        page.context.set_offline(False)
    expect(page.get_by_role("tab", name="Inpaint")).to_have_attribute("aria-selected", "true", timeout=WAIT_MS)
    expect(page.get_by_label("Prompt", exact=True).locator("visible=true")).to_have_value("harp")
    expect(page.get_by_alt_text("Spectrogram of the original").locator("visible=true")).to_be_visible()
    expect(page.locator(".card .name")).to_have_text("harp", timeout=WAIT_MS)
    expect(page.get_by_label("number input for From")).to_have_value("1.5")
    page.context.close()


def test_uploads_are_looked_at_while_the_queue_is_full(browser, tiny_folder, tmp_path):
    server = app_server.start(str(tiny_folder), RIFFUSION_MAX_QUEUE="1")
    page = opened(browser, server.url)
    clients = [Client(server.url, verbose=False) for _ in range(2)]
    jobs = []
    try:
        for client in clients:
            jobs.append(client.submit(**LONG, api_name="/text2audio"))
            deadline = time.monotonic() + 30
            while not (jobs[-1].status().progress_data or jobs[-1].done()) and time.monotonic() < deadline:
                time.sleep(0.1)
        assert jobs[1].status().progress_data[0].desc.startswith("In the queue: 1/1")
        open_tab(page, "Inpaint")
        upload(page, "inpaint-original", write_audio(make_music(2), tmp_path / "song.wav"))
        page.get_by_role("button", name="Generate").locator("visible=true").click()
        expect(page.get_by_text("The queue is full: try again in a moment.")).to_be_visible()
        expect(page.get_by_role("button", name="Generate").locator("visible=true")).to_be_visible()
    finally:
        for job in jobs:
            with suppress(Exception):
                job.cancel()
        for client in clients:
            client.close()
    page.context.close()
