"""The files of a Stable Diffusion folder: which ones are needed, whether they are whole, and what they hold.

The layout is that of diffusers: `model_index.json` beside one folder for each part. Nothing here builds a
model.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

MODELS = ("unet", "vae", "text_encoder")
FEW_STEPS_FILE = "few_steps.safetensors"

# Every other file of a repository (single-file copies, safety checker, traced models) stays where it is.
_SMALL_FILES = re.compile(
    r"model_index\.json|riffusion\.json|few_steps\.safetensors"
    r"|(unet|vae|text_encoder)/config\.json"
    r"|scheduler/scheduler_config\.json"
    r"|tokenizer/[^/]+\.(json|txt)"
)

_SAMPLED_PIECES = 256
_PIECE_BYTES = 64 * 1024


class CheckpointError(ValueError):
    """A checkpoint that cannot be found, fetched or loaded; the message is one sentence a user can act on."""


class DamagedFile(CheckpointError):
    """A file of a checkpoint that is truncated or overwritten; `path` says which."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is truncated or damaged: expected the whole file, so copy the checkpoint again."
        )
        self.path = path


def weight_files(names: Iterable[str], model: str) -> list[str]:
    """The weight files of one model (`unet`, `vae` or `text_encoder`) among a checkpoint's file names.

    Safetensors come before `.bin`, one file before its shards; shards count only when all of them are there.
    Empty when the model has no complete set of weights.
    """
    names = set(names)
    for suffix in ("safetensors", "bin"):
        if model != "text_encoder":
            stem = f"{model}/diffusion_pytorch_model"
        else:
            stem = f"{model}/model" if suffix == "safetensors" else f"{model}/pytorch_model"
        if f"{stem}.{suffix}" in names:
            return [f"{stem}.{suffix}"]
        shards = sorted(name for name in names if re.fullmatch(rf"{stem}-\d{{5}}-of-\d{{5}}\.{suffix}", name))
        if shards and shards[-1] == f"{stem}-{len(shards):05}-of-{len(shards):05}.{suffix}":
            return shards
    return []


def needed_files(names: Iterable[str], origin: str) -> list[str]:
    """What has to be read of a checkpoint whose files are `names` (relative, with forward slashes).

    Raises CheckpointError when a part is missing; `origin` names the checkpoint in the sentence.
    """
    names = set(names)
    required = [
        "model_index.json",
        "scheduler/scheduler_config.json",
        *(f"{model}/config.json" for model in MODELS),
    ]
    if "tokenizer/tokenizer.json" not in names:
        required += ["tokenizer/vocab.json", "tokenizer/merges.txt"]
    for name in required:
        if name not in names:
            raise CheckpointError(
                f"{origin} is not a Stable Diffusion checkpoint: expected a file {name}, found none."
            )
    needed = sorted(name for name in names if _SMALL_FILES.fullmatch(name))
    for model in MODELS:
        weights = weight_files(names, model)
        if not weights:
            raise CheckpointError(
                f"{origin} has no complete weights in {model}: expected .safetensors or .bin with all shards."
            )
        needed += weights
    return needed


def list_files(folder: Path) -> list[str]:
    """The files in `folder` and in the folders directly under it, relative to it, with forward slashes."""
    paths = sorted([*folder.glob("*"), *folder.glob("*/*")])
    return [path.relative_to(folder).as_posix() for path in paths if path.is_file()]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; DamagedFile when there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # covers bytes that are no UTF-8 as well
        raise DamagedFile(path) from error
    if not isinstance(content, dict):
        raise DamagedFile(path)
    return content


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` or `.bin` file by name, mapped from the disk rather than read.

    A `.bin` file is a pickle; it is opened without running any code of its own. Raises DamagedFile for a
    truncated file and CheckpointError for a pickle that holds more than tensors.
    """
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    import torch

    if not isinstance(tensors, Mapping):
        raise CheckpointError(_more_than_tensors(path, f"a {type(tensors).__name__}"))
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise CheckpointError(_more_than_tensors(path, f"a {type(tensor).__name__} called {name}"))
    return dict(tensors)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise DamagedFile(path) from error


def _read_pickle(path: Path) -> Any:
    import torch

    is_zip = zipfile.is_zipfile(path)
    with path.open("rb") as file:
        # Bare pickles are what torch wrote before 1.6; all else is a zip without its end, or no weights.
        if not is_zip and file.read(1) != pickle.PROTO:
            raise DamagedFile(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_more_than_tensors(path, "code")) from error
    except (RuntimeError, EOFError, IndexError, struct.error) as error:  # by where a pickle is cut off
        raise DamagedFile(path) from error


def _more_than_tensors(path: Path, found: str) -> str:
    return f"{path.parent.name}/{path.name} was refused: expected a pickle of tensors only, found {found}."


def fingerprint(folder: Path, few_steps: bool = False) -> str:
    """16 hexadecimal digits that tell the weights of a checkpoint's folder from others, with its LoRA for few steps.

    SHA-256 over each file's name, size and content; of a file beyond 16 MiB, 256 evenly spaced pieces of
    64 KiB stand for the content. Training moves every layer, so the pieces see it, and gigabytes need not be
    read.
    """
    digest = hashlib.sha256()
    names = list_files(folder)
    merged = [name for name in names if few_steps and name == FEW_STEPS_FILE]
    for name in (*(file for model in MODELS for file in weight_files(names, model)), *merged):
        size = (folder / name).stat().st_size
        digest.update(f"{name}\0{size}\0".encode())
        with (folder / name).open("rb") as file:
            if size <= _SAMPLED_PIECES * _PIECE_BYTES:
                digest.update(file.read())
                continue
            for piece in range(_SAMPLED_PIECES):
                file.seek(piece * (size - _PIECE_BYTES) // (_SAMPLED_PIECES - 1))
                digest.update(file.read(_PIECE_BYTES))
    return digest.hexdigest()[:16]
