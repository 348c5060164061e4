"""The Live tab as a browser plays it: what the AudioContext really puts out, and what was scheduled when."""

from __future__ import annotations

import base64
import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from browser import WAIT_MS, open_tab
from playwright.sync_api import Page, expect

RATE = 44_100
SOON_S, FADE_S = 0.08, 0.1  # as in live.js

# Listens to all that goes to the destination, in blocks of 4096 frames, notes every source's start, end and removal,
# the last click and every request, and holds back requests while `window.slow`.
TAP = """
const tapped = window.tapped = { blocks: [], sources: [], asked: [], clicked: 0, context: null };
addEventListener("click", () => (tapped.clicked = tapped.context?.currentTime ?? 0), true);
const connect = AudioNode.prototype.connect;
const processor = `registerProcessor("tap", class extends AudioWorkletProcessor {
  constructor() { super(); this.block = new Float32Array(4096); this.filled = 0; }
  process([[channel]]) {
    if (channel) this.block.set(channel, this.filled); else this.block.fill(0, this.filled, this.filled + 128);
    this.filled += 128;
    if (this.filled === 4096) {
      this.port.postMessage({ frame: currentFrame + 128 - 4096, samples: this.block.slice() });
      this.filled = 0;
    }
    return true;
  }
})`;
AudioNode.prototype.connect = function (target, ...rest) {
  const context = this.context;
  if (target === context.destination && tapped.context !== context) {
    Object.assign(tapped, { blocks: [], sources: [], context });
    context.audioWorklet.addModule(URL.createObjectURL(new Blob([processor], { type: "text/javascript" }))).then(() => {
      const tap = new AudioWorkletNode(context, "tap");
      connect.call(this, tap);
      connect.call(tap, context.destination);
      tap.port.onmessage = ({ data }) => tapped.blocks.push(data);
    });
  }
  return connect.call(this, target, ...rest);
};
const { start } = AudioBufferSourceNode.prototype, { stop } = AudioScheduledSourceNode.prototype;
const { disconnect } = AudioNode.prototype;
AudioBufferSourceNode.prototype.start = function (when) {
  const frame = when * this.context.sampleRate;
  const { currentTime } = this.context;
  this.noted = { from: frame, to: frame + this.buffer.length, late: when < currentTime, scheduled: currentTime };
  tapped.sources.push(this.noted);
  start.call(this, when);
};
AudioScheduledSourceNode.prototype.stop = function (when) {
  this.noted.to = when * this.context.sampleRate;
  this.noted.late ||= when < this.context.currentTime;
  stop.call(this, when);
};
AudioNode.prototype.disconnect = function (...rest) {
  const { noted, context } = this;
  if (noted && context.currentTime * context.sampleRate < noted.from) noted.to = noted.from;
  return disconnect.apply(this, rest);
};
const { fetch } = window;
window.fetch = async (...request) => {
  if (String(request[0].url ?? request[0]).includes("/queue/join")) {
    tapped.asked.push({ at: tapped.context?.currentTime ?? 0, body: String(request[1]?.body) });
    while (window.slow) await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return fetch(...request);
};
"""

_CAPTURED = """() => {
  const { blocks, sources } = window.tapped;
  const samples = new Float32Array(4096 * blocks.length);
  blocks.forEach((block, index) => samples.set(block.samples, 4096 * index));
  const bytes = new Uint8Array(samples.buffer), text = [];
  for (let from = 0; from < bytes.length; from += 32768) {
    text.push(String.fromCharCode(...bytes.subarray(from, from + 32768)));
  }
  return { frames: blocks.map((block) => block.frame), samples: btoa(text.join("")), sources };
}"""

# When a chunk with a prompt was asked for, or null.
_ASKED = """(prompt) => window.tapped.asked.find(({ body }) => {
  const { event_data: data } = JSON.parse(body);
  return data && "atMost" in data && data.prompt === prompt;
})?.at ?? null"""

# Seconds in the stream of what stands under the line, and of what is heard, in the same frame.
_SEEN = """() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => {
  const { context, sources } = window.tapped, rate = context.sampleRate;
  const line = document.querySelector(".live .head").getBoundingClientRect();
  const x = (line.left + line.right) / 2;
  const pieces = [...document.querySelectorAll(".live .piece")].map((node) => [node, node.getBoundingClientRect()]);
  const found = pieces.find(([, box]) => box.left <= x && box.right > x);
  if (!found) return resolve(null);
  const [node, box] = found, begins = Number(/[\\d.]+/.exec(node.style.left)[0]);
  const longest = pieces.reduce((most, each) => (each[1].width > most[1].width ? each : most));
  const second = longest[1].width / Number(/[\\d.]+/.exec(longest[0].style.width)[0]);
  const origin = Math.min(...sources.map(({ from }) => from)) / rate;
  const heard = context.currentTime - (context.outputLatency || 0) - origin;
  resolve({ seen: begins + (x - box.left) / second, heard });
})))"""

# Pixels of the strip that no picture covers, from the first piece to the last.
_HOLES = """() => {
  const shown = [...document.querySelectorAll(".live .piece")].map((node) => {
    const [box, image] = [node.getBoundingClientRect(), node.firstChild.getBoundingClientRect()];
    return [Math.max(box.left, image.left), Math.min(box.right, image.right)];
  }).sort((one, other) => one[0] - other[0]);
  let [end, holes] = [shown[0][1], 0];
  for (const [left, right] of shown) {
    holes += Math.max(left - end, 0);
    end = Math.max(end, right);
  }
  return holes;
}"""


@dataclass(frozen=True)
class Captured:
    """What was put out: ``samples`` (n,) from the context's frame ``first`` on; ``pieces`` (start, stop) in frames, and
    when each was ``scheduled``, in the context's seconds; ``replaced``, the starts of those that were never heard.
    """

    first: int
    samples: np.ndarray
    pieces: list[tuple[int, int]]
    scheduled: list[float]
    replaced: list[int]

    @property
    def origin(self) -> int:
        """The frame of the stream's first sample."""
        return self.pieces[0][0]

    @property
    def sound(self) -> np.ndarray:
        """From the stream's first sample on."""
        return self.samples[self.origin - self.first :]

    @property
    def joins(self) -> list[int]:
        """Where one piece follows another, in samples of ``sound``, as far as it goes."""
        return [start - self.origin for start, _ in self.pieces[1:] if start - self.origin < len(self.sound) - 100]

    def scheduled_at(self, second: float) -> float:
        """When what is heard at a second of the stream was scheduled, in the stream's seconds."""
        frame = self.origin + round(second * RATE)
        index = next(index for index, (start, stop) in enumerate(self.pieces) if start <= frame < stop)
        return self.scheduled[index] - self.origin / RATE

    def is_place(self, second: float) -> bool:
        """Whether a second of the stream is where a chunk ends: its last bars were ready from a crossfade before."""
        frame = self.origin + round((second - FADE_S) * RATE)
        return frame in [*self.replaced, *(start for start, _ in self.pieces)]

    def roughness(self) -> tuple[float, float]:
        """The largest second difference of samples within 1 ms of joins, and of those elsewhere."""
        rough = np.abs(np.diff(self.sound, 2))
        near = np.zeros(len(rough), bool)
        for join in self.joins:
            near[max(join - 46, 0) : join + 44] = True
        return float(rough[near].max()), float(rough[~near].max())


def open_live(page: Page, url: str) -> None:
    """The Live tab of a fresh page, whose sound is tapped."""
    page.add_init_script(TAP)
    page.goto(url)
    expect(page.locator(".banner.ready")).to_be_visible(timeout=WAIT_MS)
    open_tab(page, "Live")
    page.locator(".live .volume input").fill("1")


def play_now(page: Page, prompt: str) -> float:
    """Ask for a prompt at once; when it was clicked, in the context's seconds."""
    page.get_by_label("Prompt", exact=True).locator("visible=true").fill(prompt)
    page.get_by_role("button", name="Play now").locator("visible=true").click()
    return page.evaluate("window.tapped.clicked")


def asked_at(page: Page, prompt: str) -> float | None:
    """When the page first asked for a chunk with a prompt, in the context's seconds."""
    return page.evaluate(_ASKED, prompt)


def wait_until_heard(page: Page, prompt: str) -> None:
    expect(page.locator(".live .hearing")).to_have_text(prompt, timeout=WAIT_MS)


def wait_until_heard_on(page: Page, joins: int, seconds: float) -> None:
    """Wait until so many pieces have followed another in what was heard, and it is so long."""
    page.wait_for_function(
        """([joins, seconds]) => {
          const { sources, blocks, context } = window.tapped;
          const end = blocks.length ? blocks.at(-1).frame : 0;
          const length = (end - Math.min(...sources.map(({ from }) => from))) / context.sampleRate;
          return length >= seconds
            && sources.filter(({ from, to }) => to - from >= 0.5 && to < end).length >= joins;
        }""", arg=[joins, seconds], timeout=WAIT_MS)


def seen_and_heard(page: Page) -> tuple[float, float] | None:
    """Where in the stream the picture is, and the sound, in seconds."""
    both = page.evaluate(_SEEN)
    return None if both is None else (both["seen"], both["heard"])


def holes(page: Page) -> float:
    """Pixels without a picture, of what was heard lately and what is to come."""
    return page.evaluate(_HOLES)


def captured(page: Page) -> Captured:
    """What was put out so far; the tap has heard every frame, and every piece begins on a whole one, in time."""
    told = page.evaluate(_CAPTURED)
    assert all(after - before == 4096 for before, after in itertools.pairwise(told["frames"]))
    pieces, scheduled, replaced = [], [], []
    for source in sorted(told["sources"], key=lambda source: source["from"]):
        if source["to"] - source["from"] < 0.5:
            replaced.append(round(source["from"]))
            continue
        assert not source["late"]
        start, stop = (round(source[name]) for name in ("from", "to"))
        assert abs(source["from"] - start) < 1e-4 and abs(source["to"] - stop) < 1e-4
        pieces.append((start, stop))
        scheduled.append(source["scheduled"])
    samples = np.frombuffer(base64.b64decode(told["samples"]), np.float32)
    return Captured(told["frames"][0], samples, pieces, scheduled, replaced)


def save(page: Page, path: Path) -> Path:
    with page.expect_download() as download:
        page.locator(".live .save").click()
    download.value.save_as(path)
    return path


def cpu_s(pid: int) -> float:
    """Seconds that a process has computed."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def cpu_in(pid: int, seconds: float) -> float:
    """Seconds that a process computes in a time."""
    before = cpu_s(pid)
    time.sleep(seconds)
    return cpu_s(pid) - before


def resident_mb(pid: int) -> float:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def seconds_until_idle(pid: int, limit_s: float, within_s: float = 1.0) -> float:
    """When a process began to compute for less than a tenth of the time; ``limit_s`` if that did not come."""
    began = time.monotonic()
    while time.monotonic() - began < limit_s:
        before = cpu_s(pid)
        time.sleep(within_s)
        if cpu_s(pid) - before < 0.1 * within_s:
            return time.monotonic() - began - within_s
    return limit_s
