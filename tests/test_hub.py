"""huggingface_hub's own client against the stand-in Hub.

Each start is a process of its own, because the client reads its environment when it is imported.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from standin_hub import UNNEEDED, Repository, StandInHub
from tiny import write_tiny_checkpoint

ROOT = Path(__file__).resolve().parent.parent
LEGACY = "riffusion/riffusion-model-v1"
UNET = "unet/diffusion_pytorch_model.bin"

FETCH = """
import json, sys
from riffusion_space.hub import fetch
from riffusion_space.weights import CheckpointError
steps = []
try:
    folder = fetch(*sys.argv[1:], progress=lambda *step: steps.append(step))
    print(json.dumps({"folder": str(folder), "steps": steps}))
except CheckpointError as error:
    print(json.dumps({"error": str(error)}))
"""


def environment(home: Path, url: str, **extra: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return kept | {
        "HF_HOME": str(home),
        "HF_ENDPOINT": url,
        "NO_PROXY": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        **extra,
    }


def run(script: str, *arguments: str, env: dict[str, str]) -> dict:
    """The JSON that a script prints last."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], env=env, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("legacy"), legacy=True)


@pytest.fixture
def hub(legacy: Path) -> Iterator[StandInHub]:
    with StandInHub({LEGACY: Repository.of(legacy)}) as hub:
        yield hub


def test_fetches_what_is_needed_and_nothing_else(hub: StandInHub, legacy: Path, tmp_path: Path) -> None:
    fetched = run(FETCH, LEGACY, env=environment(tmp_path, hub.url))
    needed = {path.relative_to(legacy).as_posix() for path in legacy.rglob("*") if path.is_file()}
    assert hub.asked == needed
    folder = Path(fetched["folder"])
    assert folder.name == hub.repositories[LEGACY].commit
    assert folder.is_relative_to(tmp_path)
    assert all((folder / name).read_bytes() == (legacy / name).read_bytes() for name in needed)
    fractions = [fraction for fraction, _ in fetched["steps"]]
    assert fractions == sorted(fractions) and 0 < fractions[0] < fractions[-1] == 1
    assert f"Downloading {LEGACY}" in fetched["steps"][0][1]


def test_safetensors_come_before_pickles_and_recommended_settings_come_too(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path / "model", legacy=False)
    (folder / "riffusion.json").write_text('{"steps": 20}')
    pickles = {UNET: b"", "vae/diffusion_pytorch_model.bin": b"", "text_encoder/pytorch_model.bin": b""}
    modern = Repository.of(folder)
    with StandInHub({"a/model": Repository(modern.files | pickles)}) as hub:
        fetched = run(FETCH, "a/model", env=environment(tmp_path / "home", hub.url))
        assert hub.asked == set(modern.files) - set(UNNEEDED)
    assert (Path(fetched["folder"]) / "riffusion.json").read_text() == '{"steps": 20}'


def test_a_second_start_downloads_nothing_and_needs_no_network(hub: StandInHub, tmp_path: Path) -> None:
    env = environment(tmp_path, hub.url)
    first = run(FETCH, LEGACY, env=env)
    hub.downloads.clear()
    assert run(FETCH, LEGACY, env=env) == {"folder": first["folder"], "steps": []}
    assert hub.downloads == []
    hub.close()
    assert run(FETCH, LEGACY, env=env)["folder"] == first["folder"]
    assert run(FETCH, LEGACY, env=env | {"HF_HUB_OFFLINE": "1"})["folder"] == first["folder"]


def test_a_dropped_connection_is_taken_up_where_it_broke(hub: StandInHub, tmp_path: Path) -> None:
    chunk = 10 * 2**20  # the client writes pieces of this size
    content = os.urandom(2 * chunk + 5000)
    hub.repositories["a/large"] = Repository(hub.repositories[LEGACY].files | {UNET: content})
    hub.faults[UNET] = "drop"
    fetched = run(FETCH, "a/large", env=environment(tmp_path, hub.url))
    assert [first for path, first in hub.downloads if path == UNET] == [0, chunk]
    assert (Path(fetched["folder"]) / UNET).read_bytes() == content


def test_a_killed_download_does_not_trip_the_next_one(hub: StandInHub, legacy: Path, tmp_path: Path) -> None:
    hub.faults[UNET] = "stall"
    env = environment(tmp_path, hub.url)
    client = subprocess.Popen([sys.executable, "-c", FETCH, LEGACY], env=env)
    assert hub.stalled.wait(timeout=60)
    offline = run(FETCH, LEGACY, env=env | {"HF_HUB_OFFLINE": "1"})
    assert "HF_HUB_OFFLINE" in offline["error"]
    client.send_signal(signal.SIGKILL)
    client.wait()
    fetched = run(FETCH, LEGACY, env=env)
    assert (Path(fetched["folder"]) / UNET).read_bytes() == (legacy / UNET).read_bytes()


def test_a_failed_download_keeps_its_finished_files(hub: StandInHub, legacy: Path, tmp_path: Path) -> None:
    hub.faults[UNET] = "refuse"
    env = environment(tmp_path, hub.url)
    assert "500" in run(FETCH, LEGACY, env=env)["error"]
    assert not list(tmp_path.rglob("*.incomplete"))
    finished = {path.name for path in tmp_path.rglob("snapshots/*/**/*") if path.is_file()}
    hub.downloads.clear()
    run(FETCH, LEGACY, env=env)
    assert (UNET, 0) in hub.downloads
    assert finished.isdisjoint(Path(path).name for path, _ in hub.downloads if path != UNET)


def test_the_token_opens_private_and_gated_models(legacy: Path, tmp_path: Path) -> None:
    repositories = {
        "a/private": Repository.of(legacy, private=True),
        "a/gated": Repository.of(legacy, gated=True),
    }
    with StandInHub(repositories) as hub:
        env = environment(tmp_path, hub.url)
        private = run(FETCH, "a/private", env=env)["error"]
        gated = run(FETCH, "a/gated", env=env)["error"]
        assert private.startswith("There is no model a/private on the Hub, or it is private")
        assert gated.startswith("a/gated is gated") and hub.url in gated
        for repo_id in repositories:
            assert Path(run(FETCH, repo_id, env=env | {"HF_TOKEN": "secret"})["folder"]).is_dir()


def test_what_the_hub_does_not_have(hub: StandInHub, tmp_path: Path) -> None:
    env = environment(tmp_path, hub.url)
    assert "no model a/b on the Hub" in run(FETCH, "a/b", env=env)["error"]
    assert "no revision v9" in run(FETCH, LEGACY, "v9", env=env)["error"]
    assert "owner/model" in run(FETCH, "a--b/c", env=env)["error"]
    hub.repositories["a/lora"] = Repository({"README.md": b"", "lora.safetensors": b""})
    assert "a/lora is not a Stable Diffusion checkpoint" in run(FETCH, "a/lora", env=env)["error"]
    commit = hub.repositories[LEGACY].commit
    assert Path(run(FETCH, LEGACY, commit, env=env)["folder"]).name == commit


def test_no_network_and_no_cache(hub: StandInHub, tmp_path: Path) -> None:
    hub.close()
    env = environment(tmp_path, hub.url)
    unreachable = run(FETCH, LEGACY, env=env)["error"]
    assert hub.url in unreachable and "embedded" in unreachable
    assert "HF_HUB_OFFLINE" in run(FETCH, LEGACY, env=env | {"HF_HUB_OFFLINE": "1"})["error"]
