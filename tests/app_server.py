"""The real app in a process of its own, started once for all the tests that talk to it."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 60


@dataclass(frozen=True)
class AppServer:
    """Where the page is, how long it took to be there, the folder that holds its users' files, and its process."""

    url: str
    seconds_to_page: float
    files: Path
    pid: int


@cache
def start(checkpoint: str = "auto", **settings: str) -> AppServer:
    """Run ``python app.py`` as on a laptop that is offline, and wait for its page; it ends with the tests.

    One for each ``checkpoint`` and ``settings``, variables of the environment.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="riffusion-app-"))
    log = (folder / "log.txt").open("w")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RIFFUSION_")},
        "RIFFUSION_CHECKPOINT": checkpoint,
        "RIFFUSION_DEVICE": "cpu",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(folder / "files"),
        "HF_HUB_OFFLINE": "1",
        **settings,
    }
    url = f"http://127.0.0.1:{port}"
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=log)
    atexit.register(_stop, process, folder)
    while time.monotonic() - began < START_TIMEOUT_S and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return AppServer(url, time.monotonic() - began, folder / "files", process.pid)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise RuntimeError(f"app.py served no page:\n{(folder / 'log.txt').read_text()}")


def _stop(process: subprocess.Popen, folder: Path) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)
