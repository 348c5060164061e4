"""A finished LoRA or checkpoint goes to the Hub: ``--push owner/name``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from riffusion_space.lora import LORA_FILE

# What a run writes, without its state; other files that lie in its folder stay at home.
_RESULT = ("README.md", "samples/step_*.wav", "samples/step_*.png")
_LORA = (LORA_FILE, "webui/*.safetensors")
_CHECKPOINT = ("model_index.json", "riffusion.json", *(
    f"{part}/*.{kind}" for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    for kind in ("json", "txt", "safetensors")))


def prepare(repo_id: str) -> None:
    """See to it that the model is on the Hub and may be written, before anything is trained; a new one is private.

    Raises ValueError, one sentence, where it may not.
    """
    def act(api: Any) -> None:
        api.create_repo(repo_id, private=True, exist_ok=True)  # content with a token that reads one that is there
        api.auth_check(repo_id, write=True)

    _on_the_hub(repo_id, act)


def publish(folder: Path, repo_id: str, full: bool) -> str:
    """Upload what a run has written, a LoRA or in full a checkpoint, without its state. The address of the commit.

    Raises ValueError, one sentence, when the Hub does not take it; the folder stays as it is.
    """
    return str(_on_the_hub(repo_id, lambda api: api.upload_folder(
        repo_id=repo_id, folder_path=folder, allow_patterns=[*_RESULT, *(_CHECKPOINT if full else _LORA)],
        commit_message="Fine-tuned weights")))


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
        status = error.response.status_code
        hint = ": set HF_TOKEN to a token that may" if status in (401, 403) else ""
        raise ValueError(f"the Hub answered {status} when {repo_id} was to be written{hint}") from error
    except (HTTPError, OSError) as error:
        raise ValueError(f"the Hub cannot be reached to push to {repo_id}: {error}") from error
