"""Training to the Hub and from it: what is pushed, and a dataset as a folder."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import make_music

from riffusion_space.audio import write_audio
from riffusion_space.training import dataset
from riffusion_space.training.clips import NO_CAPTION, Report, find_sources
from riffusion_space.training.dataset import fetch_dataset, find_music, is_dataset

PUSH = """
import sys
from pathlib import Path
from riffusion_space.training.publish import prepare, publish
try:
    prepare(sys.argv[1])
    print(publish(Path(sys.argv[2]), sys.argv[1], full=sys.argv[3] == "full"))
except ValueError as error:
    print(f"error: {error}")
"""


class WritableHub:
    """As much of the Hub as takes a model: what was committed, and the requests to make a model."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.created: list[dict] = []
        self.busy = False
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if hub.busy:
                    return self.answer(429, {"error": "later"})
                if self.headers.get("Authorization") == "Bearer reader" and self.path == "/api/repos/create":
                    return self.answer(409, {"error": "it is there", "url": f"{hub.url}/someone/zither"})
                if self.headers.get("Authorization") != "Bearer secret":
                    return self.answer(401, {"error": "no"})
                if self.path == "/api/repos/create":
                    hub.created.append(json.loads(body))
                    return self.answer(200, {"url": f"{hub.url}/someone/zither", "id": "someone/zither"})
                if self.path == "/api/validate-yaml":
                    return self.answer(200, {"errors": [], "warnings": []})
                if "/preupload/" in self.path:
                    return self.answer(200, {"files": [
                        {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                        for file in json.loads(body)["files"]]})
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                self.answer(200, {"commitUrl": f"{hub.url}/someone/zither/commit/1", "commitOid": "1", "success": True})

            def do_GET(self) -> None:
                if self.headers.get("Authorization") not in ("Bearer secret", "Bearer reader"):
                    return self.answer(401, {"error": "no"})
                if self.path.endswith("/auth-check/write") and self.headers.get("Authorization") != "Bearer secret":
                    return self.answer(403, {"error": "read only"})
                self.answer(200, {"id": "someone/zither", "sha": "0" * 40, "siblings": []})

            def answer(self, status: int, content: dict) -> None:
                text = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *arguments) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> WritableHub:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self.server.shutdown()


def push(hub: WritableHub, folder, home, repository="someone/zither", kind="lora", **environment) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PUSH, repository, str(folder), kind], capture_output=True, text=True, timeout=60,
        env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_result_goes_to_the_hub_and_the_state_stays(tmp_path):
    out = tmp_path / "my-lora"
    lora = {"README.md", "pytorch_lora_weights.safetensors", "webui/my-lora.safetensors", "samples/step_000001.wav",
            "samples/step_000001.png"}
    checkpoint = {"README.md", "model_index.json", "unet/diffusion_pytorch_model.safetensors", "tokenizer/merges.txt",
                  "samples/step_000001.wav", "samples/step_000001.png"}
    private = {"training/state.pt", "my-song.wav", "samples/my-song.wav", "private/notes.txt", "unet/.env",
               "replaced/unet/diffusion_pytorch_model.safetensors"}
    for name in lora | checkpoint | private:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(name)
    with WritableHub() as hub:
        assert push(hub, out, tmp_path, HF_TOKEN="secret").endswith("/someone/zither/commit/1")
        assert set(hub.files) == lora
        assert hub.created[0]["name"] == "zither" and hub.created[0]["visibility"] == "private"
        hub.files.clear()
        push(hub, out, tmp_path, kind="full", HF_TOKEN="secret")
        assert set(hub.files) == checkpoint
        hub.files.clear()
        assert "the Hub answered 401" in push(hub, out, tmp_path, HF_TOKEN="wrong")
        read_only = push(hub, out, tmp_path, HF_TOKEN="reader")
        assert read_only.endswith("the Hub answered 403 when someone/zither was to be written: set HF_TOKEN to a token "
                                  "that may") and not hub.files
        assert "a Hub id such as owner/model" in push(hub, out, tmp_path, "no//name", HF_TOKEN="secret")
    assert "cannot be reached" in push(hub, out, tmp_path, HF_TOKEN="secret", HF_ENDPOINT="http://127.0.0.1:9")


def test_other_answers_of_the_hub_have_nothing_to_do_with_the_token(tmp_path):
    with WritableHub() as hub:
        hub.busy = True
        answer = push(hub, tmp_path, tmp_path, HF_TOKEN="secret")
    assert answer == "error: the Hub answered 429 when someone/zither was to be written"


def test_names_of_datasets():
    assert is_dataset("owner/name") and is_dataset("owner/some.name@v1.0")
    assert not any(map(is_dataset, ("name", "a/b/c", "/a/b", "no such/x y")))


def test_dataset_becomes_a_folder(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    import pyarrow
    from pyarrow import parquet

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    songs = [write_audio(make_music(1, seed=number), tmp_path / f"{number}.flac").read_bytes() for number in range(2)]
    table = pyarrow.table({"audio": [*({"bytes": song, "path": "x.flac"} for song in songs), None],
                           "caption": ["slow zither", None, "nothing"]})
    features = {"audio": {"_type": "Audio"}, "caption": {"dtype": "string", "_type": "Value"}}
    (tmp_path / "source").mkdir()
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}),
                        tmp_path / "source/train.parquet")
    write, lines = Path.write_text, []

    def full(path, text, **options):
        write(path, text[:20], **options)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            fetch_dataset(str(tmp_path / "source"), tmp_path / "music")
    folder = fetch_dataset(str(tmp_path / "source"), tmp_path / "music", tell=lines.append)
    assert lines == [f"Skipped row 2 of {tmp_path / 'source'}: it has no audio."]
    assert [path.read_bytes() for path in sorted(folder.glob("*.flac"))] == songs
    report = Report()
    (found,) = find_sources(folder, report)
    assert found.caption == "slow zither" and report.skipped == [("000001.flac", NO_CAPTION)]
    (tmp_path / "source/train.parquet").unlink()
    assert fetch_dataset(str(tmp_path / "source"), folder) == folder  # what is there is not fetched again
    with pytest.raises(ValueError, match="a dataset of the Hub, but .* cannot be loaded"):
        fetch_dataset(str(tmp_path / "source"), tmp_path / "other")


def test_datasets_are_told_apart_by_their_whole_names(tmp_path, monkeypatch):
    fetched = {}
    monkeypatch.setattr(dataset, "fetch_dataset", lambda name, folder, *others: fetched.setdefault(name, folder))
    for name in ("alice/songs", "bob/songs", "bob/songs@v2/x"):
        find_music(Path(name), tmp_path)
    assert len(set(fetched.values())) == 3
    assert {folder.parent for folder in fetched.values()} == {tmp_path / "training/music"}
    assert find_music(tmp_path, tmp_path / "out") == tmp_path
    with pytest.raises(ValueError, match="there is no folder 'no such/x y'"):
        find_music(Path("no such/x y"), tmp_path)


def test_without_the_package_there_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match="pip install 'datasets"):
        fetch_dataset("someone/music", tmp_path / "music")
