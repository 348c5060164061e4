"""What is installed is all that is needed."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_package_holds_every_file():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {"riffusion_space.assets": ROOT / "assets"}
    folders |= {name: ROOT / name.replace(".", "/") for name in setuptools["packages"] if name not in folders}
    packed = set()
    for name, folder in folders.items():
        for pattern in ("*.py", *setuptools["package-data"].get(name, ())):
            packed |= {path for path in folder.glob(pattern) if path.is_file()}
    needed = {path for path in (ROOT / "riffusion_space").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    needed |= {path for path in (ROOT / "assets").rglob("*") if path.is_file()}
    assert {path for path in needed - packed if "screenshots" not in path.parts} == set()
