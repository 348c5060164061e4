"""How fast a request is and where its time goes, how fast the app starts, and what it takes of disk and memory.

``python benchmarks/speed.py`` prints the tables, writes benchmarks/results/speed.md and puts the first into the README.
What is compared with the plain path (diffusers' own decoder, float32) takes turns with it in one run.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from running_app import ROOT, running_app

from riffusion_space.pipeline import RiffusionPipeline
from riffusion_space.profiling import machine, report

PROMPTS = ("church bells", "jazz piano", "techno, 130 bpm", "funk bassline with a jazzy saxophone solo", "rain", "harp")
MARK, END = "<!-- profile: written by benchmarks/speed.py -->", "<!-- /profile -->"
RESULTS = ROOT / "benchmarks" / "results" / "speed.md"


def import_seconds() -> float:
    """Of the package, in a new process; the interpreter's own start is not counted."""
    code = "import time; began = time.perf_counter(); import riffusion_space; print(time.perf_counter() - began)"
    return statistics.median(float(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT)) for _ in range(3))


def installed_megabytes() -> tuple[float, float]:
    """This repository's files, and those of the packages that requirements.txt names with all that they need."""
    tracked = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT).decode().split("\0")
    own = sum((ROOT / name).stat().st_size for name in tracked if name and (ROOT / name).is_file())
    names = [re.split(r"[=<>\[ ]", line)[0] for line in (ROOT / "requirements.txt").read_text().splitlines()
             if line and line[0].isalpha()]
    seen: set[str] = set()
    size = 0
    while names:
        name = re.sub(r"[-_.]+", "-", names.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            package = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # for another system, or an extra that was not asked for
            continue
        files = (Path(file.locate()) for file in package.files or ())
        size += sum(file.stat().st_size for file in files if file.is_file())
        names += [re.split(r"[^\w.-]", need)[0] for need in package.requires or () if "extra ==" not in need]
    return own / 1e6, size / 1e6


def app_figures() -> dict[str, str]:
    """The app in a process of its own: to its page, to the first sound, and its memory."""
    from gradio_client import Client

    with running_app() as app:
        client = Client(app.url, verbose=False)
        client.predict(prompt="church bells", seed=7, api_name="/text2audio")
        to_sound = time.monotonic() - app.began
        again = time.monotonic()
        client.predict(prompt="flute melody", seed=8, api_name="/text2audio")
        second = time.monotonic() - again
        memory = _memory(app.pid)
    return {"from start to page, s": f"{app.to_page_s:.1f}", "from start to the first sound, s": f"{to_sound:.1f}",
            "a request over HTTP after that, s": f"{second:.2f}", **memory}


def _memory(pid: int) -> dict[str, str]:
    """Where Linux tells it."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return {}
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+)", status.read_text(), re.MULTILINE))
    return {"resident memory of the app, MB": f"{int(found['VmRSS']) / 1024:.0f}",
            "its peak, MB": f"{int(found['VmHWM']) / 1024:.0f}"}


def beside_plain(repeats: int) -> list[str]:
    """diffusers' decoder, and requests in float32, beside what is run here: seconds, and how far pixels are apart."""
    plain, usual = (RiffusionPipeline.from_pretrained("embedded", "cpu", dtype) for dtype in (torch.float32, None))
    kind = str(usual.checkpoint.dtype).removeprefix("torch.")
    channels = plain.checkpoint.vae.config.latent_channels
    latents = torch.randn(1, channels, 64, 64, generator=torch.Generator().manual_seed(0))

    @torch.inference_mode()
    def decoded() -> torch.Tensor:
        return plain.checkpoint.vae.decode(latents).sample.mean(1)

    decoders = [lambda pipe=pipe: pipe.checkpoint.decoder(latents.to(pipe.checkpoint.dtype))
                for pipe in (plain, usual)]
    rows = []
    for name, slow, fast in (("decoder in float32: diffusers', this one", decoded, decoders[0]),
                             (f"decoder: diffusers' in float32, this one in {kind}", decoded, decoders[1])):
        apart = ((slow().clamp(-1, 1) - fast().clamp(-1, 1)).abs() * 127.5).numpy()
        rows.append((name, *take_turns([slow, fast], repeats), apart))
    works = [lambda pipe=pipe: [pipe.text2audio(prompt, seed=7) for prompt in PROMPTS] for pipe in (plain, usual)]
    apart = np.stack([np.abs(np.subtract(*(np.asarray(clip.image, float) for clip in clips)))
                      for clips in zip(*(work() for work in works))])
    rows.append((f"a request of 5.11 s: in float32, in {kind}",
                 *(seconds / len(PROMPTS) for seconds in take_turns(works, 3)), apart))
    return ["| | plain, s | as it is run, s | times as fast | pixels are apart, of 255: mean, most |",
            "|---|---:|---:|---:|---:|",
            *(f"| {name} | {slow:.3f} | {fast:.3f} | {slow / fast:.2f} | {apart.mean():.3f}, {apart.max():.3g} |"
              for name, slow, fast, apart in rows)]


def take_turns(works: list[Callable[[], object]], repeats: int) -> list[float]:
    """Median seconds of each, whatever else the machine does falling on all of them."""
    seconds: list[list[float]] = [[] for _ in works]
    for repeat in range(repeats + 1):
        for work, times in zip(works, seconds):
            began = time.perf_counter()
            work()
            if repeat:  # the first prepares
                times.append(time.perf_counter() - began)
    return [statistics.median(times) for times in seconds]


def write_into_readme(profiled: str) -> None:
    """Put the profile where the README shows it."""
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(MARK)
    after = rest.partition(END)[2]
    readme.write_text(f"{before}{MARK}\n{profiled}\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, help="by default what suits the embedded checkpoint")
    parser.add_argument("--guidance", type=float, help="likewise")
    parser.add_argument("--repeats", type=int, default=7, help="of what is compared (7)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (2)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    own, packages = installed_megabytes()
    figures = {"import riffusion_space, s": f"{import_seconds():.2f}", **app_figures(),
               "this repository, MB": f"{own:.0f}", "its packages, MB": f"{packages:.0f}"}
    pipe = RiffusionPipeline.from_pretrained("embedded", "cpu")
    asked = {name: value for name in ("steps", "guidance") if (value := getattr(arguments, name)) is not None}
    profiled = report(pipe, "text2audio", {"prompt": "church bells", "seed": 7, **asked})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines = [
        "# How fast it is", "", f"`python benchmarks/speed.py` on {machine(torch.device('cpu'))}.", "",
        "## Where the time of a request goes", "", profiled, "",
        "text: words to embeddings, kept for prompts that were seen before; UNet: its calls; steps: what is around "
        "them; decoder: latents to pixels; phase: pixels to samples; writing: the file; rest: pictures, "
        "levels, settings. `python -m riffusion_space profile ...` prints this of any request.", "",
        "## The app", "", "| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in figures.items()),
        f"| peak memory of this profile, MB | {peak:.0f} |", "",
        "## Beside the plain way", "", *beside_plain(arguments.repeats),
    ]
    RESULTS.write_text("\n".join(lines) + "\n")
    write_into_readme(profiled)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
