"""What runs on a GPU leaves nothing behind on the CPU, nor takes anything from there unasked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_tasks_on_a_pretended_gpu(tiny_folder):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RIFFUSION_")}
    environment |= {"SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": "http://127.0.0.1:1",
                    "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "tests/pretended_gpu.py", tiny_folder], cwd=ROOT, capture_output=True,
                          text=True, timeout=900, env=environment)
    assert done.returncode == 0 and done.stdout.endswith("all of it\n"), done.stderr
