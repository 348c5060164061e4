"""The app in a process of its own, for benchmarks that talk to it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_TIMEOUT_S = 180


@dataclass(frozen=True)
class RunningApp:
    """``began`` is when it was started, by ``time.monotonic``."""

    url: str
    pid: int
    began: float
    to_page_s: float


@contextmanager
def running_app(**settings: str) -> Iterator[RunningApp]:
    """``python app.py`` with the embedded checkpoint on the CPU, offline, and with these environment variables."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "RIFFUSION_CHECKPOINT": "embedded", "RIFFUSION_DEVICE": "cpu",
                       "HF_HUB_OFFLINE": "1", "GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": folder, **settings}
        began, url = time.monotonic(), f"http://127.0.0.1:{port}"
        process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            while not _answers(url):
                if time.monotonic() - began > _TIMEOUT_S or process.poll() is not None:
                    raise RuntimeError("app.py served no page: run it by hand to see why")
                time.sleep(0.05)
            yield RunningApp(url, process.pid, began, time.monotonic() - began)
        finally:
            process.terminate()
            process.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).read()
    except (urllib.error.URLError, ConnectionError):
        return False
    return True
