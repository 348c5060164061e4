"""The examples of API.md, run as they stand against the real server; a tiny checkpoint is enough for their lengths."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import app_server
import pytest
from conftest import make_music
from PIL import Image
from test_schema import CONVERSIONS, STREAM, TASKS

from riffusion_space import read_audio
from riffusion_space.audio import write_audio
from riffusion_space.codec import encode

TIMEOUT_S = 240
ADDRESS = "http://localhost:7860"
CLIENT = "@gradio/client@>=2.7 <3"  # of JavaScript
SECONDS = {"text2audio": 5.11, "audio2audio": 2, "interpolate": 10.23, "inpaint": 2, "extend": 3.5, "arrange": 8,
           "morph": 3, "image2audio": 2, "stream": 2.56}


@pytest.fixture
def server(tiny_folder):
    return app_server.start(str(tiny_folder))


@pytest.fixture
def folder(tmp_path):
    """What the examples find where they run: a recording, and an image."""
    song = make_music(2)
    write_audio(song, tmp_path / "song.mp3")
    image = encode(song)
    image.save(tmp_path / "spectrogram.png", exif=image.getexif())
    return tmp_path


def script(language: str, server: app_server.AppServer) -> str:
    """All of a language's examples, one after another; one for each endpoint, in its section."""
    text = (app_server.ROOT / "API.md").read_text(encoding="utf-8")
    names = (*TASKS, *CONVERSIONS, STREAM)
    head, *sections = re.split(rf"^## (?=(?:{'|'.join(names)})$)", text, flags=re.MULTILINE)
    assert [section.partition("\n")[0] for section in sections] == list(names)
    blocks = []
    for section in (head, *sections):
        found = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
        assert len(found) == 1
        blocks += found
    return "\n".join(blocks).replace(ADDRESS, server.url)


def run(command: list[str], folder: Path, **environment: str) -> list[str]:
    """Lines that a program prints."""
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True,
                          timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def check(files: list[Path]) -> None:
    """``files`` are the results of the endpoints, in order."""
    for task, file in zip((*TASKS, *CONVERSIONS, STREAM), files, strict=True):
        if task == "audio2image":
            with Image.open(file) as image:
                assert image.size == (201, 512)
        else:
            assert read_audio(file).duration_s == pytest.approx(SECONDS[task], abs=0.01), task


def test_python(server, folder):
    (folder / "examples.py").write_text(script("python", server), encoding="utf-8")
    lines = run([sys.executable, "examples.py"], folder)
    check([Path(line) for line in lines if line.startswith("/")])  # the client, too, says something


@pytest.mark.skipif(not all(map(shutil.which, ("bash", "curl", "jq"))), reason="needs bash, curl and jq")
def test_curl(server, folder):
    (folder / "examples.sh").write_text(f"set -euo pipefail\n{script('bash', server)}", encoding="utf-8")
    run(["bash", "examples.sh"], folder)
    names = ("bells", "flute", "journey", "patched", "longer", "piece", "morphed", "decoded")
    check([*(folder / f"{name}.wav" for name in names), folder / "song.png", folder / "next.wav"])


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory):
    """A folder with the JavaScript client."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("needs node and npm")
    folder = tmp_path_factory.mktemp("node")
    installed = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--prefix", folder, CLIENT],
                               capture_output=True, text=True, timeout=TIMEOUT_S)
    if installed.returncode:
        pytest.skip(f"npm installs no {CLIENT}: {installed.stderr.strip().splitlines()[:1]}")
    return folder / "node_modules"


def test_javascript(server, folder, node_modules):
    (folder / "node_modules").symlink_to(node_modules)
    # What a program prints is fetched by it, too: a stream's files go with its listener. The client keeps its
    # connection open.
    ends = "for (const [i, url] of printed.entries()) await save(url, i);\nprocess.exit(0);"
    begins = """import { writeFileSync } from "node:fs";
const printed = [], log = console.log;
console.log = (line) => { printed.push(line); log(line); };
const save = async (url, i) => writeFileSync(`${i}${url.slice(url.lastIndexOf("."))}`,
    Buffer.from(await (await fetch(url)).arrayBuffer()));
"""
    (folder / "examples.mjs").write_text(f"{begins}{script('javascript', server)}\n{ends}", encoding="utf-8")
    urls = run(["node", "examples.mjs"], folder)
    check([folder / f"{number}{Path(url).suffix}" for number, url in enumerate(urls)])
