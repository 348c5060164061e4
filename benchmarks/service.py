"""Clients that come at the same time: throughput and latency of the app that denoises waiting requests together, beside
the same app that takes one after the other; and by how much samples differ for being made together.

``python benchmarks/service.py`` prints the tables and writes benchmarks/results/service.md. The two apps take turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from running_app import RunningApp, running_app

from riffusion_space.checkpoints import Checkpoint, load
from riffusion_space.config import Config
from riffusion_space.pipeline import RiffusionPipeline
from riffusion_space.profiling import machine

RESULTS = Path(__file__).resolve().parent / "results" / "service.md"
PROMPTS = ("church bells", "funk", "flute melody", "techno, 130 bpm", "slow sad violin", "jazz saxophone", "sitar",
           "rock")


def rush(app: RunningApp, clients: int, settings: dict) -> tuple[float, list[float]]:
    """Seconds until all clients, who ask at the same time, have their sound, and the seconds of each."""
    from gradio_client import Client

    ready = [Client(app.url, verbose=False, httpx_kwargs={"timeout": 600}) for _ in range(clients)]

    def ask(number: int) -> float:
        began = time.perf_counter()
        ready[number].predict(prompt=PROMPTS[number % len(PROMPTS)], seed=number, **settings, api_name="/text2audio")
        return time.perf_counter() - began

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        seconds = list(pool.map(ask, range(clients)))
    return time.perf_counter() - began, seconds


def differences(checkpoint: Checkpoint, together: int, settings: dict) -> tuple[int, float, float]:
    """Of clips made together and alone: the largest difference of a pixel, the share of pixels that differ, and the
    level in dB of the difference of the samples, below that of the samples.
    """
    alone, shared = (RiffusionPipeline(checkpoint, Config(batch=batch)) for batch in (1, together))
    asked = [{"prompt": prompt, "seed": seed, **settings} for seed, prompt in enumerate(PROMPTS[:together])]
    single = [alone.text2audio(**each) for each in asked]
    with ThreadPoolExecutor(together) as pool:
        made = list(pool.map(lambda each: shared.text2audio(**each), asked))
    pixels = [np.abs(np.asarray(a.image, int) - np.asarray(b.image, int)) for a, b in zip(single, made)]
    error = sum(np.square(a.audio.samples - b.audio.samples).sum() for a, b in zip(single, made))
    power = sum(np.square(a.audio.samples).sum() for a in single)
    return (max(int(each.max()) for each in pixels), statistics.mean((each > 0).mean() for each in pixels),
            10 * np.log10(max(error, 1e-20) / power))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64], metavar="N")
    parser.add_argument("--batch", type=int, default=4, help="requests denoised together (4)")
    parser.add_argument("--steps", type=int, help="by default what suits the embedded checkpoint")
    parser.add_argument("--guidance", type=float, help="likewise")
    arguments = parser.parse_args()
    settings = {name: value for name in ("steps", "guidance") if (value := getattr(arguments, name)) is not None}

    rows = []
    queue = {"RIFFUSION_MAX_QUEUE": str(max(arguments.clients) + 1)}
    with running_app(RIFFUSION_BATCH="1", **queue) as one, \
            running_app(RIFFUSION_BATCH=str(arguments.batch), **queue) as several:
        for app in (one, several):
            rush(app, 1, settings)  # loads what is loaded once
        for clients in arguments.clients:
            for name, app in (("one by one", one), (f"up to {arguments.batch} together", several)):
                total, seconds = rush(app, clients, settings)
                rows.append(f"| {clients} | {name} | {60 * clients / total:.1f} | {statistics.median(seconds):.2f} | "
                            f"{max(seconds):.2f} |")
                print(rows[-1], flush=True)
    asked = ", ".join(f"{name} {value:g}" for name, value in settings.items()) or "the steps and guidance that suit it"
    checkpoint = load("embedded", "cpu")
    largest, share, level = differences(checkpoint, arguments.batch, settings)
    lines = [
        "# Clients that come together", "",
        f"`python benchmarks/service.py`: /text2audio over HTTP with `embedded` in {checkpoint.dtype_name} at {asked}, "
        f"clips of 5.11 s, on {machine(checkpoint.device)}.", "",
        "| clients | requests are made | clips a minute | median wait, s | longest wait, s |",
        "|---:|---|---:|---:|---:|",
        *rows, "",
        f"A clip made together with {arguments.batch - 1} others and the same clip made alone: {share:.3%} of the "
        f"pixels differ, by {largest} of 255 at most; the difference of the samples is {level:.0f} dB beside the "
        "samples. (Where pixels differ, so do the phases that are found for them: not the sound, but the samples.)", "",
        "`RIFFUSION_BATCH` sets how many are denoised together; by default 8 on a GPU and 1 on a CPU.",
    ]
    RESULTS.write_text("\n".join(lines) + "\n")
    print("\n".join(lines[4:]))


if __name__ == "__main__":
    main()
