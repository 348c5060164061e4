from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import write_tiny_checkpoint

from riffusion_space.weights import (
    CheckpointError,
    DamagedFile,
    fingerprint,
    list_files,
    needed_files,
    read_json,
    read_tensors,
    weight_files,
)

STEM = "unet/diffusion_pytorch_model"
SHARDS = [f"{STEM}-00001-of-00002.safetensors", f"{STEM}-00002-of-00002.safetensors"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([f"{STEM}.bin", f"{STEM}.safetensors"], [f"{STEM}.safetensors"]),
        ([f"{STEM}.bin", f"{STEM}.fp16.safetensors"], [f"{STEM}.bin"]),
        ([*SHARDS, f"{STEM}.bin"], SHARDS),
        ([SHARDS[0], f"{STEM}.bin"], [f"{STEM}.bin"]),
        ([SHARDS[1]], []),
        ([f"{STEM}-00001-of-00001.bin"], [f"{STEM}-00001-of-00001.bin"]),
        (["diffusion_pytorch_model.bin", "unet_traced/diffusion_pytorch_model.bin"], []),
    ],
)
def test_weight_files(names: list[str], expected: list[str]) -> None:
    assert weight_files(names, "unet") == expected


def test_the_text_encoder_has_names_of_its_own() -> None:
    names = ["text_encoder/model.safetensors", "text_encoder/pytorch_model.bin"]
    assert weight_files(names, "text_encoder") == names[:1]
    assert weight_files(names[1:], "text_encoder") == names[1:]


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        (
            "model_index.json",
            "a/model is not a Stable Diffusion checkpoint: expected a file model_index.json",
        ),
        ("vae/config.json", "expected a file vae/config.json"),
        ("tokenizer/merges.txt", "expected a file tokenizer/merges.txt"),
        (f"{STEM}.bin", "a/model has no complete weights in unet"),
    ],
)
def test_a_missing_file_is_named(missing: str, sentence: str, tmp_path: Path) -> None:
    names = list_files(write_tiny_checkpoint(tmp_path, legacy=True))
    assert sorted(needed_files(names, "a/model")) == names
    names.remove(missing)
    with pytest.raises(CheckpointError, match=sentence):
        needed_files(names, "a/model")


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_truncated_file_is_damaged(suffix: str, kept: float, tmp_path: Path) -> None:
    tensors = {"weight": torch.randn(100, 100)}
    path = tmp_path / f"model.{suffix}"
    save_file(tensors, path) if suffix == "safetensors" else torch.save(tensors, path)
    assert torch.equal(read_tensors(path)["weight"], tensors["weight"])
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])
    with pytest.raises(DamagedFile, match=str(path)):
        read_tensors(path)


def test_a_page_in_place_of_weights_is_damage(tmp_path: Path) -> None:
    for suffix in ("safetensors", "bin"):
        path = tmp_path / f"model.{suffix}"
        path.write_bytes(b"<html>Sign in to this network</html>" * 100)
        with pytest.raises(DamagedFile):
            read_tensors(path)


def test_pickles_from_before_the_zip_format_are_read(tmp_path: Path) -> None:
    tensors = {"weight": torch.randn(3)}
    torch.save(tensors, tmp_path / "model.bin", _use_new_zipfile_serialization=False)
    assert torch.equal(read_tensors(tmp_path / "model.bin")["weight"], tensors["weight"])


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("bare", [False, True])
def test_code_in_a_pickle_is_refused_and_not_run(bare: bool, tmp_path: Path) -> None:
    path, sprung = tmp_path / "unet" / "model.bin", tmp_path / "sprung"
    path.parent.mkdir()
    torch.save({"weight": Trap(sprung)}, path, _use_new_zipfile_serialization=not bare)
    with pytest.raises(
        CheckpointError, match="unet/model.bin was refused: expected a pickle of tensors only"
    ) as error:
        read_tensors(path)
    assert not isinstance(error.value, DamagedFile)
    assert not sprung.exists()


def test_other_things_than_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"weight": torch.zeros(1)}}, tmp_path / "model.bin")
    with pytest.raises(CheckpointError, match="found a dict called state_dict"):
        read_tensors(tmp_path / "model.bin")
    torch.save(torch.zeros(1), tmp_path / "model.bin")
    with pytest.raises(CheckpointError, match="found a Tensor"):
        read_tensors(tmp_path / "model.bin")


def test_read_json_refuses_half_a_file(tmp_path: Path) -> None:
    for content in (b"", b'{"steps": ', b"[1]", b"\xff\xfe"):
        (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(DamagedFile):
            read_json(tmp_path / "config.json")


def test_fingerprint_follows_the_weights_alone(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path / "a", legacy=True)
    same = shutil.copytree(folder, tmp_path / "b")
    (same / "README.md").write_text("# A copy")
    assert fingerprint(same) == fingerprint(folder)
    assert len(fingerprint(folder)) == 16
    assert fingerprint(write_tiny_checkpoint(tmp_path / "c", legacy=True, seed=1)) != fingerprint(folder)


def test_fingerprint_of_a_large_file_sees_its_ends(tmp_path: Path) -> None:
    path = tmp_path / f"{STEM}.bin"
    path.parent.mkdir()
    path.write_bytes(bytes(20_000_000))
    seen = {fingerprint(tmp_path)}
    for position in (0, 19_999_999):
        with path.open("r+b") as file:
            file.seek(position)
            file.write(b"x")
        seen.add(fingerprint(tmp_path))
    assert len(seen) == 3
