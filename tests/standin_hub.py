"""A stand-in for the Hugging Face Hub on the loopback, as far as huggingface_hub's client talks to it.

It serves every file of its repositories, those that nobody should ask for included, and remembers what was
asked for.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

# What `riffusion/riffusion-model-v1` holds beside its model.
UNNEEDED = {
    ".gitattributes": b"*.ckpt filter=lfs",
    "README.md": b"# Riffusion",
    "riffusion-model-v1.ckpt": b"a single-file copy of 14 GB",
    "riffusion-model-v1.safetensors": b"another single-file copy",
    "feature_extractor/preprocessor_config.json": b"{}",
    "safety_checker/config.json": b"{}",
    "safety_checker/pytorch_model.bin": b"1.2 GB",
    "unet/diffusion_pytorch_model.fp16.bin": b"a variant",
    "unet_traced/unet_traced.pt": b"a traced UNet",
}


@dataclass(frozen=True)
class Repository:
    """The files of a model by path; a gated or private one is read with the token `secret` alone."""

    files: dict[str, bytes]
    gated: bool = False
    private: bool = False

    @cached_property
    def commit(self) -> str:
        return hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()

    @classmethod
    def of(cls, folder: Path, **access: bool) -> Repository:
        """The files of a folder, and the unneeded ones beside them."""
        paths = (path for path in folder.rglob("*") if path.is_file())
        return cls(
            UNNEEDED | {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}, **access
        )


class StandInHub:
    """Serves `repositories` (by id) at `url` while it is entered.

    `downloads` lists (path, first byte) of every GET of a file, `asked` the paths of every HEAD and GET. A
    path in `faults` makes its next GET fail: "drop" sends half and closes the connection, "stall" sends half
    and waits until the server goes (`stalled` is then set), "refuse" answers 500.
    """

    def __init__(self, repositories: dict[str, Repository]) -> None:
        self.repositories = repositories
        self.asked: set[str] = set()
        self.downloads: list[tuple[str, int]] = []
        self.faults: dict[str, Literal["drop", "stall", "refuse"]] = {}
        self.stalled = threading.Event()
        self.closing = threading.Event()

    def __enter__(self) -> StandInHub:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the network; closing twice does no harm."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


def _handler(hub: StandInHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Requests are remembered, not printed."""

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            api = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/]+)", path)
            file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            repo_id, revision = (api[1], api[3]) if api else (file[1], file[2]) if file else ("", "")
            repository = hub.repositories.get(repo_id)
            trusted = self.headers.get("Authorization") == "Bearer secret"
            if repository is None or (repository.private and not trusted):
                self._refuse(404 if trusted else 401, "RepoNotFound")
            elif revision not in ("main", repository.commit):
                self._refuse(404, "RevisionNotFound")
            elif api:
                self._send_listing(repository, api[1], tree=api[2] == "tree")
            elif repository.gated and not trusted:
                self._refuse(403, "GatedRepo")
            elif file[3] not in repository.files:
                self._refuse(404, "EntryNotFound")
            else:
                self._send_file(repository, file[3])

        def _refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send_listing(self, repository: Repository, repo_id: str, tree: bool) -> None:
            files = [(path, _blob_id(content), len(content)) for path, content in repository.files.items()]
            if tree:
                listing = [
                    {"type": "file", "path": path, "oid": oid, "size": size} for path, oid, size in files
                ]
            else:
                siblings = [{"rfilename": path, "blobId": oid, "size": size} for path, oid, size in files]
                listing = {"id": repo_id, "sha": repository.commit, "siblings": siblings}
            body = json.dumps(listing).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _send_file(self, repository: Repository, path: str) -> None:
            content = repository.files[path]
            first = int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
            hub.asked.add(path)
            fault = None
            if self.command == "GET":
                hub.downloads.append((path, first))
                fault = hub.faults.pop(path, None)
            if fault == "refuse":
                self._refuse(500, "InternalError")
                return
            self.send_response(206 if first else 200)
            self.send_header("ETag", f'"{_blob_id(content)}"')
            self.send_header("X-Repo-Commit", repository.commit)
            self.send_header("Accept-Ranges", "bytes")
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(content[first:] if fault is None else content[first : len(content) // 2])
            if fault == "stall":
                self.wfile.flush()
                hub.stalled.set()
                hub.closing.wait()
            self.close_connection = fault is not None

    return Handler


def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
