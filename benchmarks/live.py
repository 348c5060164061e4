"""Live, heard by a real browser, and by several listeners at once: ``python benchmarks/live.py --minutes 3``."""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import app_server  # noqa: E402
import gradio_client  # noqa: E402
import numpy as np  # noqa: E402
from browser import DESKTOP, chromium  # noqa: E402
from live_page import (  # noqa: E402
    RATE,
    captured,
    open_live,
    play_now,
    resident_mb,
    save,
    seconds_until_idle,
    seen_and_heard,
)

from riffusion_space import read_settings  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "live.md"
PROMPTS = ("techno, 130 bpm", "jazz piano", "funk", "flute melody", "ambient synth pad", "rock drums")
CHANGE_S = 15
BEHIND = "Falling behind"
FEWER = "Fewer steps"
CHUNK_S = 2.56


@dataclass
class Soak:
    """What several listeners got: chunks of each, and the server's memory over time, (minutes, MB)."""

    chunks: list[int]
    refused: list[str] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)
    files: int = 0


def by_browser(server: app_server.AppServer, minutes: float) -> list[tuple[str, str]]:
    """Rows on what a browser put out in that time, with a new prompt every 15 s."""
    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        page = browser.new_context(viewport=DESKTOP).new_page()
        open_live(page, server.url)
        changes, apart, messages = [play_now(page, PROMPTS[0])], [], []
        page.wait_for_function("window.tapped.sources.length > 0", timeout=600_000)
        began = time.monotonic()
        while (passed := time.monotonic() - began) < 60 * minutes:
            if passed > CHANGE_S * len(changes) and passed < 60 * minutes - 8:
                changes.append(play_now(page, PROMPTS[len(changes) % len(PROMPTS)]))
            if both := seen_and_heard(page):
                apart.append(abs(both[0] - both[1]))
            messages.append(page.locator(".live .message").inner_text())
            page.wait_for_timeout(200)
        file = save(page, Path(folder) / "live.wav")
        heard, settings = captured(page), read_settings(file)
        page.close()
        idle = seconds_until_idle(server.pid, 30)
    gaps = [abs(after[0] - before[1]) for before, after in itertools.pairwise(heard.pieces)]
    at_joins, inside = heard.roughness()
    blocks = heard.sound[: len(heard.sound) // 441 * 441].reshape(-1, 441)
    silent = int((np.sqrt((blocks**2).mean(1))[10:] < 1e-4).sum())
    starts = [each["at_s"] for each in settings["prompts"][1:]]
    took = waits([asked - heard.origin / RATE for asked in changes[1:]], starts)
    return [
        ("listened", f"{len(heard.sound) / RATE:.0f} s, {len(heard.pieces)} pieces"),
        ("largest gap or overlap between pieces", f"{max(gaps)} samples"),
        ("roughest join, beside the roughest place inside", f"{at_joins:.3f}, {inside:.3f}"),
        ("silent stretches of 10 ms", f"{silent}"),
        ("prompt changes heard", f"{len(took)} of {len(changes) - 1}"),
        ("until a change is heard: median, longest", f"{statistics.median(took):.2f} s, {max(took):.2f} s"),
        ("picture beside sound: median, worst",
         f"{1000 * statistics.median(apart):.0f} ms, {1000 * max(apart):.0f} ms"),
        ("time with fewer steps", f"{share(messages, FEWER):.0%}"),
        ("time in which the last bars were repeated", f"{share(messages, BEHIND):.0%}"),
        ("page closed: until the server is idle", f"{idle:.1f} s"),
    ]


def waits(asked: list[float], starts: list[float]) -> list[float]:
    """How long after each request its prompt began, where it did before the next request."""
    ends = [*asked[1:], float("inf")]
    found = [next((start - begin for start in starts if begin <= start < end), None) for begin, end in zip(asked, ends)]
    return [each for each in found if each is not None]


def share(messages: list[str], start: str) -> float:
    return sum(message.startswith(start) for message in messages) / len(messages)


def soak(server: app_server.AppServer, listeners: int, minutes: float) -> Soak:
    """Several listeners who each ask for a chunk when half a chunk is left to play."""
    result = Soak([0] * listeners)
    ends = time.monotonic() + 60 * minutes

    def listen(number: int) -> None:
        client = gradio_client.Client(server.url, verbose=False)
        state, due = None, time.monotonic()
        while time.monotonic() < ends:
            prompt = PROMPTS[(number + result.chunks[number] // 8) % len(PROMPTS)]
            try:
                _, settings = client.predict(prompt=prompt, state=state, api_name="/stream")
            except gradio_client.exceptions.AppError as error:
                result.refused.append(str(error))
                return
            state = settings["state"]
            result.chunks[number] += 1
            due = max(due, time.monotonic()) + CHUNK_S
            time.sleep(max(due - time.monotonic() - 1.5 * CHUNK_S, 0))

    threads = [threading.Thread(target=listen, args=(number,)) for number in range(listeners)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        result.memory.append((minutes - (ends - time.monotonic()) / 60, resident_mb(server.pid)))
        result.files = max(result.files, sum(1 for path in server.files.rglob("*") if path.is_file()))
        time.sleep(5)
    return result


def soak_rows(result: Soak, minutes: float) -> list[tuple[str, str]]:
    # The first third is left out: buffers are still being allocated.
    settled = [(minute, mb) for minute, mb in result.memory if minute > minutes / 3]
    slope = np.polyfit(*zip(*settled), 1)[0]
    heard = [count * CHUNK_S / (60 * minutes) for count in result.chunks]
    return [
        ("listened", f"{len(result.chunks)} listeners, {minutes:g} min"),
        ("chunks of each: fewest, most", f"{min(result.chunks)}, {max(result.chunks)}"),
        ("of the time that passed, each was given", f"{min(heard):.0%} to {max(heard):.0%}"),
        ("refused", f"{len(result.refused)}"),
        ("memory after a third, at the end", f"{settled[0][1]:.0f} MB, {settled[-1][1]:.0f} MB"),
        ("slope from there on", f"{slope:+.2f} MB a minute"),
        ("most files kept at a time", f"{result.files}"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=3, help="that a browser listens, 0 for none (3)")
    parser.add_argument("--soak-minutes", type=float, default=30, help="that several listen, 0 for none (30)")
    parser.add_argument("--listeners", type=int, default=4, help="of the soak (4)")
    parser.add_argument("--checkpoint", default="embedded", help="embedded, a Hub id or a folder")
    arguments = parser.parse_args()
    server = app_server.start(arguments.checkpoint)
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    lines = ["# Live", "", f"`python benchmarks/live.py --minutes {arguments.minutes:g} --soak-minutes "
             f"{arguments.soak_minutes:g} --listeners {arguments.listeners}`: the real app on {os.cpu_count()} CPU "
             f"cores ({threads} threads), checkpoint {Path(arguments.checkpoint).name}. The browser's own output is "
             "captured sample by sample, behind the volume; a new prompt is asked for every 15 s."]
    for title, minutes, rows in (
        ("A browser that listens", arguments.minutes, lambda: by_browser(server, arguments.minutes)),
        ("Several listeners at once", arguments.soak_minutes,
         lambda: soak_rows(soak(server, arguments.listeners, arguments.soak_minutes), arguments.soak_minutes)),
    ):
        if minutes > 0:
            table = ["", f"## {title}", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows())]
            lines += table
            print("\n".join(table), flush=True)
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
