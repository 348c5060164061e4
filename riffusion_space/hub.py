"""Fetch a checkpoint from the Hugging Face Hub into its shared cache, and nothing that is not needed.

The Hub's own client does the work, so `HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT` and `HF_HUB_OFFLINE` mean what
they always do; it reads them once, when it is first imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riffusion_space.request import Progress
from riffusion_space.weights import CheckpointError, list_files, needed_files

if TYPE_CHECKING:
    from tqdm import tqdm

HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+(@[\w./-]+)?")  # owner/model, perhaps with a revision


def fetch(repo_id: str, revision: str = "main", progress: Progress | None = None) -> Path:
    """The folder of a Hub model's snapshot, after downloading what is missing of it; its name is the commit.

    Only the files that `needed_files` names are asked for. A dropped connection is taken up again in the
    middle of a file; a start that was interrupted leaves its finished files for the next one. When the Hub
    does not answer or refuses, what the cache holds of the revision serves. `progress` is called, from the
    downloading threads, with the fraction of the bytes that has arrived (0 to 1) and a text; without it the
    client draws a bar of its own.

    Raises CheckpointError when the model or revision does not exist, is gated, or can be had neither from the
    network nor from the cache.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError

    try:
        listing = HfApi().model_info(repo_id, revision=revision, files_metadata=True)
    except HFValidationError as error:
        raise CheckpointError(f"Expected a Hub id such as owner/model, got {repo_id!r}.") from error
    except (HTTPError, OSError) as error:
        return _cached(repo_id, revision, error)

    sizes = {file.rfilename: file.size or 0 for file in listing.siblings or []}
    wanted = needed_files(sizes, repo_id)
    counter = None
    if progress:
        counter = _byte_counter(repo_id, _missing_bytes(repo_id, listing.sha, wanted, sizes), progress)
    try:
        folder = snapshot_download(repo_id, revision=revision, allow_patterns=wanted, tqdm_class=counter)
    except (HTTPError, OSError, RuntimeError) as error:  # hf_xet raises RuntimeError
        raise CheckpointError(_refusal(error, repo_id, revision)) from error
    return Path(folder)


def fetch_one(repo_id: str, revision: str, choose: Callable[[list[str]], str]) -> Path:
    """The one file of a Hub model that `choose` picks out of its files' names, downloaded unless the cache has it.

    When the Hub does not answer, `choose` picks among what the cache holds of the revision. Raises
    CheckpointError as `fetch` does, and what `choose` raises.
    """
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError, LocalEntryNotFoundError

    try:
        listing = HfApi().model_info(repo_id, revision=revision)
        name = choose([file.rfilename for file in listing.siblings or []])
        return Path(hf_hub_download(repo_id, name, revision=revision))
    except HFValidationError as error:
        raise CheckpointError(f"Expected a Hub id such as owner/model, got {repo_id!r}.") from error
    except (HTTPError, OSError, RuntimeError) as error:  # hf_xet raises RuntimeError
        refusal = _refusal(error, repo_id, revision)
        try:
            folder = Path(snapshot_download(repo_id, revision=revision, local_files_only=True))
            return folder / choose(list_files(folder))
        except (LocalEntryNotFoundError, ValueError):
            raise CheckpointError(refusal) from error


def discard(path: Path) -> None:
    """Remove a file of a snapshot and the blob it points to, so that the next `fetch` downloads it anew."""
    path.resolve().unlink()
    path.unlink(missing_ok=True)


def _cached(repo_id: str, revision: str, error: Exception) -> Path:
    """The revision's snapshot from the cache alone, after `error` from the Hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    refusal = _refusal(error, repo_id, revision)
    try:
        # The file that every complete snapshot has; which others are needed is judged from what is there.
        folder = Path(
            snapshot_download(
                repo_id, revision=revision, local_files_only=True, allow_patterns="model_index.json"
            )
        )
        needed_files(list_files(folder), repo_id)
    except (LocalEntryNotFoundError, CheckpointError):
        raise CheckpointError(refusal) from error
    return folder


def _missing_bytes(repo_id: str, commit: str | None, wanted: list[str], sizes: dict[str, int]) -> int:
    from huggingface_hub import try_to_load_from_cache

    cached = {
        name for name in wanted if isinstance(try_to_load_from_cache(repo_id, name, revision=commit), str)
    }
    return sum(sizes[name] for name in wanted if name not in cached)


def _byte_counter(repo_id: str, total: int, progress: Progress) -> type[tqdm]:
    """A progress bar for the Hub's client that draws nothing and reports bytes over all files."""
    from tqdm import tqdm

    arrived = 0

    class ByteCounter(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.counts_bytes = kwargs.get("unit") == "B"  # another bar counts files
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            nonlocal arrived
            self.n += n or 0
            # The client keeps one bar for bytes received and one for bytes written; the further one is shown.
            if self.counts_bytes and self.n > arrived:
                arrived = self.n
                text = f"Downloading {repo_id}: {arrived / 1e6:.0f} of {total / 1e6:.0f} MB"
                progress(min(arrived / max(total, 1), 1.0), text)

    return ByteCounter


def _refusal(error: Exception, repo_id: str, revision: str) -> str:
    """One sentence on why the Hub did not give what was asked for, and what to do about it."""
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return f"{repo_id} is gated: accept its terms at {ENDPOINT}/{repo_id} and set HF_TOKEN to your token."
    if isinstance(error, RepositoryNotFoundError):
        return f"There is no model {repo_id} on the Hub, or it is private and HF_TOKEN does not open it."
    if isinstance(error, RevisionNotFoundError):
        return f"{repo_id} has no revision {revision}: expected a branch, a tag or a commit."
    if isinstance(error, OfflineModeIsEnabled):
        return f"{repo_id}@{revision} is not in the cache, and HF_HUB_OFFLINE forbids to download it."
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return f"The Hub answered {status} when asked for {repo_id}: check HF_TOKEN, or try again later."
    if isinstance(error, (HTTPError, LocalEntryNotFoundError)):
        return (
            f"{ENDPOINT} cannot be reached and {repo_id}@{revision} is not completely in the cache: "
            "connect to the network, or choose the embedded checkpoint."
        )
    return (
        f"The download of {repo_id} stopped ({str(error).partition(chr(10))[0]}): start again to finish it."
    )
