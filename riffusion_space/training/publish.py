"""A finished LoRA or checkpoint goes to the Hub: ``--push owner/name``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# What only a run that goes on needs.
_KEPT_HOME = ("training/**", "**/*.partial")


def prepare(repo_id: str) -> None:
    """See to it that the model is on the Hub and may be written, before anything is trained; a new one is private.

    Raises ValueError, one sentence, where it may not.
    """
    _on_the_hub(repo_id, lambda api: api.create_repo(repo_id, private=True, exist_ok=True))


def publish(folder: Path, repo_id: str) -> str:
    """Upload what a run has written, without its state. The address of the commit.

    Raises ValueError, one sentence, when the Hub does not take it; the folder stays as it is.
    """
    return str(_on_the_hub(repo_id, lambda api: api.upload_folder(
        repo_id=repo_id, folder_path=folder, ignore_patterns=list(_KEPT_HOME), commit_message="Fine-tuned weights")))


def _on_the_hub(repo_id: str, act: Any) -> Any:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, LocalTokenNotFoundError

    try:
        return act(HfApi())
    except HFValidationError as error:
        raise ValueError(f"expected a Hub id such as owner/model to push to, got {repo_id!r}") from error
    except LocalTokenNotFoundError as error:
        raise ValueError(f"expected a token that may write to push to {repo_id}: set HF_TOKEN") from error
    except HfHubHTTPError as error:
        raise ValueError(f"the Hub answered {error.response.status_code} when {repo_id} was to be written: "
                         "set HF_TOKEN to a token that may") from error
    except (HTTPError, OSError) as error:
        raise ValueError(f"the Hub cannot be reached to push to {repo_id}: {error}") from error
