"""Checkpoints: from a name to a loaded Stable Diffusion model.

A name is `embedded` (the small model in `assets/riffusion-mini`), a Hub id with an optional `@revision`, a
folder in diffusers' layout, or `auto`. Weights are put into the models here rather than by the libraries'
loaders, because the checkpoints of 2022 carry names that today's classes no longer know, and because a weight
that is missing or does not fit has to be an error: the loaders would fill it with noise.
"""

from __future__ import annotations

import math
import os
from collections.abc import Container
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riffusion_space import hub
from riffusion_space.config import ASSETS
from riffusion_space.lora import LoraStack, read_lora
from riffusion_space.request import Progress
from riffusion_space.schedulers import check_scheduler
from riffusion_space.weights import (
    FEW_STEPS_FILE,
    MODELS,
    CheckpointError,
    DamagedFile,
    fingerprint,
    list_files,
    needed_files,
    read_json,
    read_tensors,
    weight_files,
)

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL, SchedulerMixin, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    from riffusion_space.batching import SharedUnet
    from riffusion_space.decoder import PixelDecoder

EMBEDDED_DIR = ASSETS / "riffusion-mini"
HUB_ID = "riffusion/riffusion-model-v1"

# What libraries raise for values that make no model.
_BAD_CONFIG = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)

# Names of 2022 in the autoencoder's attention -> names of today.
_RENAMED = ((".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0."))


@dataclass(frozen=True)
class Recommended:
    """Settings that suit a checkpoint; a checkpoint's own stand in its `riffusion.json`.

    The defaults are those of the 2022 checkpoint. `steps` is at least 1, `guidance` the scale of
    classifier-free guidance (0 or more), `scheduler` one of the pipeline's scheduler names. `guided` is the part of
    a request's steps, from its first on, that are guided at all. `beat` is the share of the noise, 0 to 1, that
    repeats from beat to beat where a tempo is named. ValueError otherwise.
    """

    steps: int = 30
    guidance: float = 7.0
    scheduler: str = "dpm++"
    guided: float = 1.0
    beat: float = 0.0

    def __post_init__(self) -> None:
        if type(self.steps) is not int or self.steps < 1:
            raise ValueError(f"Expected recommended steps of 1 or more, got {self.steps!r}.")
        if type(self.guidance) not in (int, float) or not 0 <= self.guidance < math.inf:
            raise ValueError(f"Expected a recommended guidance of 0 or more, got {self.guidance!r}.")
        for what, share in (("guided part of the steps", self.guided), ("repeating share of the noise", self.beat)):
            if type(share) not in (int, float) or not 0 <= share <= 1:
                raise ValueError(f"Expected a {what} from 0 to 1, got {share!r}.")
        check_scheduler(self.scheduler)


@dataclass(frozen=True)
class Vocabulary:
    """Names of what a checkpoint was taught to play, from its `riffusion.json`; empty where it does not say."""

    instruments: tuple[str, ...] = ()
    genres: tuple[str, ...] = ()
    ambiences: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for kind, names in vars(self).items():
            if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) and name for name in names):
                raise ValueError(f"Expected {kind} to be a list of names, got {names!r}.")
            object.__setattr__(self, kind, tuple(names))


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A loaded Stable Diffusion model, in evaluation mode, on one device.

    `name` is `embedded`, `owner/model@revision` or the folder's name; `reason` one sentence on which checkpoint
    plays and why. `scheduler` carries the checkpoint's noise schedule: pipelines build their own from its
    config. `dtype` is that of the UNet's and the autoencoder's weights; the text encoder's are float32 on a CPU.
    `revision` identifies the weights: the commit on the Hub, for a folder the `fingerprint`. `loras` are
    laid over the weights; pipelines that share a checkpoint share them. `low_memory` trades speed for a GPU of
    4 GB: few pictures at once, and the text encoder on the CPU.
    """

    name: str
    reason: str
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: SchedulerMixin
    recommended: Recommended
    vocabulary: Vocabulary
    device: torch.device
    dtype: torch.dtype
    revision: str
    loras: LoraStack = field(default_factory=LoraStack)
    low_memory: bool = False

    @property
    def dtype_name(self) -> str:
        """Such as ``float16``."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def phase_device(self) -> torch.device:
        """Where the phase is found: on CUDA, which has all that it takes, else on the CPU."""
        import torch

        return self.device if self.device.type == "cuda" else torch.device("cpu")

    @cached_property
    def decoder(self) -> PixelDecoder:
        """The autoencoder's decoder as it is run, with the weights it has when it is first used."""
        from riffusion_space.decoder import PixelDecoder

        return PixelDecoder(self.vae)

    @property
    def rows_at_once(self) -> int:
        """Pictures in one call of the UNet."""
        from riffusion_space.batching import LOW_MEMORY_ROWS, ROWS_AT_ONCE

        return LOW_MEMORY_ROWS if self.low_memory else ROWS_AT_ONCE.get(self.device.type, LOW_MEMORY_ROWS)

    @cached_property
    def shared_unet(self) -> SharedUnet:
        """The UNet, for denoising loops in several threads."""
        from riffusion_space.batching import SharedUnet

        return SharedUnet(self.unet, self.rows_at_once)


def choose(name: str, device: torch.device) -> tuple[str, str]:
    """Resolve `auto` for a device: the checkpoint's name, and one sentence on which one plays and why.

    Raises CheckpointError for a name that can be neither a folder nor a Hub id.
    """
    if name == "auto":
        if device.type == "cuda" or os.environ.get("SPACES_ZERO_GPU"):
            return HUB_ID, f"{HUB_ID} plays because a GPU is there to run it."
        return "embedded", f"The embedded checkpoint plays because {HUB_ID} needs a CUDA GPU."
    if name == "embedded":
        return name, "The embedded checkpoint plays because it was asked for by name."
    if name and Path(name).expanduser().is_dir():
        return name, f"The checkpoint in the folder {Path(name).name} plays because it was asked for."
    if hub.HUB_NAME.fullmatch(name):
        return name, f"{name} from the Hub plays because it was asked for."
    raise CheckpointError(
        f"Expected 'auto', 'embedded', a Hub id such as {HUB_ID}, or an existing folder, got {name!r}."
    )


def load(
    name: str = "auto",
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    progress: Progress | None = None,
    few_steps: bool = True,
    low_memory: bool = False,
) -> Checkpoint:
    """Find a checkpoint, download it if it is on the Hub, check it and load it.

    Args:
        name: `auto`, `embedded`, a folder, or a Hub id with an optional `@revision`.
        device: where the models go; None takes CUDA, then Apple's MPS, then the CPU.
        dtype: type of the weights; None takes what suits the device (``usual_dtype``).
        progress: called with a fraction and a text; the fraction runs from 0 to 1 for the download, when
            there is one, and once more for the loading.
        few_steps: whether a checkpoint that brings a LoRA for it (`few_steps.safetensors`) is to paint in few
            steps without guidance, as its `riffusion.json` then recommends. Fine-tuning wants the model without:
            what it learns lies over either.
        low_memory: for a GPU of 4 GB: few pictures at once, and the text encoder on the CPU.

    Raises:
        CheckpointError: one sentence for a checkpoint that is unknown, out of reach, damaged or does not fit.
            A damaged file of a download has then left the cache, so that the next call downloads it again.
    """
    import torch

    device = _usable_device(device)
    dtype = dtype or usual_dtype(device)
    was_chosen = name == "auto"
    name, reason = choose(name, device)
    on_hub = False
    if name == "embedded":
        folder = EMBEDDED_DIR
    elif Path(name).expanduser().is_dir():
        folder = Path(name).expanduser()
        name = folder.resolve().name  # where it lies on a server is nobody's business
    else:
        on_hub = True
        repo_id, _, revision = name.partition("@")
        revision = revision or "main"
        name = f"{repo_id}@{revision}"
        try:
            folder = hub.fetch(repo_id, revision, progress)
        except CheckpointError as error:
            if not was_chosen or os.environ.get("SPACE_ID"):  # a Space tries again
                raise
            name, on_hub, folder = "embedded", False, EMBEDDED_DIR
            reason = f"The embedded checkpoint plays because {HUB_ID} cannot be had. {error}"
    try:
        with torch.inference_mode(False):  # weights that were made inside of it have no versions
            parts = _load_parts(folder, name, device, dtype, progress, few_steps, low_memory)
    except DamagedFile as damage:
        if not on_hub:
            raise
        hub.discard(damage.path)
        raise CheckpointError(
            f"The cached {damage.path.relative_to(folder).as_posix()} of {name} was truncated or damaged and "
            "has been removed: start again to download it anew."
        ) from damage
    revision = folder.name if on_hub else fingerprint(folder, few_steps)
    return Checkpoint(name, reason, **parts, device=device, dtype=dtype, revision=revision, low_memory=low_memory)


def usual_dtype(device: torch.device) -> torch.dtype:
    """What a checkpoint is computed in on a device, where nothing else is asked for.

    float16 on CUDA. On a CPU with instructions for it (AVX512-BF16, AMX) bfloat16, which is faster for pictures
    that are the same to the eye and the ear: benchmarks/speed.py says by how much. Else float32.
    """
    import torch

    if device.type == "cuda":
        return torch.float16
    found = torch.cpu.get_capabilities() if device.type == "cpu" and torch.backends.mkldnn.is_available() else {}
    return torch.bfloat16 if found.get("avx512_bf16") or found.get("amx_bf16") else torch.float32


def _usable_device(device: str | torch.device | None) -> torch.device:
    """A device that tensors can be on; of None, the best there is. CheckpointError when they cannot."""
    import torch

    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:  # unknown, not compiled in, no driver
        raise CheckpointError(f"Expected a device that this machine has, such as cpu, got {str(device)!r}.") from error


def _load_parts(
    folder: Path, name: str, device: torch.device, dtype: torch.dtype, progress: Progress | None, few_steps: bool,
    low_memory: bool,
) -> dict[str, Any]:
    """What a folder holds, by the names of Checkpoint's fields."""
    import torch
    from diffusers import DPMSolverMultistepScheduler

    files = needed_files(list_files(folder), name)
    configs = {file: read_json(folder / file) for file in files if file.endswith(".json")}
    few_steps = few_steps and FEW_STEPS_FILE in files
    own = _read_own(folder / "riffusion.json", few_steps)
    models = {model: _empty_model(model, configs[f"{model}/config.json"], name) for model in MODELS}
    tokenizer = _read_tokenizer(folder / "tokenizer")
    _check_fit(tokenizer, **models, name=name)
    text_device = torch.device("cpu") if low_memory else device
    for count, (model, module) in enumerate(models.items()):
        if progress:
            progress(count / len(models), f"Loading the {model.replace('_', ' ')}")
        complaint = f"The weights in {model} of {name} do not fit its config.json"
        own_dtype = torch.float32 if few_steps or (model, text_device.type) == ("text_encoder", "cpu") else dtype
        _fill(module, [folder / file for file in weight_files(files, model)], own_dtype, complaint)
    if few_steps:
        _merge(folder / FEW_STEPS_FILE, models)
        for model in {"unet", "vae"} if text_device.type == "cpu" else models:
            _round(models[model], dtype)  # not before: what is added to rounded weights is lost in part
    for model, module in models.items():
        module.to(text_device if model == "text_encoder" else device).eval()
    _arrange(models["unet"])
    if progress:
        progress(1.0, f"Loaded {name}")
    try:
        # A schedule that does not say how it is spaced is of 2022. Evenly and from the noisiest time on suits all
        # schedulers and few steps (Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2024).
        schedule = {"timestep_spacing": "trailing", **configs["scheduler/scheduler_config.json"]}
        scheduler = DPMSolverMultistepScheduler.from_config(schedule)
    except _BAD_CONFIG as error:
        raise _no_description("scheduler/scheduler_config.json", name, error) from error
    return {**models, "tokenizer": tokenizer, "scheduler": scheduler, **own}


def _merge(path: Path, models: dict[str, torch.nn.Module]) -> None:
    """Add what a LoRA's file changes to the weights of the models, for good."""
    import torch

    try:
        layers = read_lora(path, path.stem, models).layers
    except DamagedFile:
        raise
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    with torch.no_grad():
        for (model, module), layer in layers.items():
            weight = models[model].get_submodule(module).weight
            weight.copy_(weight.float() + layer.change(weight.shape, weight.device))


def _read_own(path: Path, few_steps: bool) -> dict[str, Recommended | Vocabulary]:
    """What a `riffusion.json` says of its checkpoint, by the names of Checkpoint's fields; the defaults without one.

    With `few_steps`, what it recommends with that LoRA.
    """
    entries = read_json(path) if path.is_file() else {}
    try:
        vocabulary = entries.get("vocabulary", {})
        if not isinstance(vocabulary, dict):
            raise ValueError(f"Expected vocabulary to be an object, got {vocabulary!r}.")
        recommended = entries.get("few_steps") if few_steps else entries
        if not isinstance(recommended, dict):
            raise ValueError(f"Expected few_steps to be an object, got {recommended!r}.")
        return {"recommended": Recommended(**_known(Recommended, recommended)),
                "vocabulary": Vocabulary(**_known(Vocabulary, vocabulary))}
    except DamagedFile:
        raise
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _known(settings: type, entries: dict[str, Any]) -> dict[str, Any]:
    """Those of a file's entries that a dataclass has fields for: a newer file may hold others."""
    return {field.name: entries[field.name] for field in fields(settings) if field.name in entries}


def _empty_model(
    model: str, config: dict[str, Any], name: str
) -> UNet2DConditionModel | AutoencoderKL | CLIPTextModel:
    """The model that a config describes, its weights without memory until `_fill`."""
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    try:
        with init_empty_weights():  # buffers are not empty: they are computed, not loaded
            if model == "text_encoder":
                return CLIPTextModel(CLIPTextConfig.from_dict(config))
            return (UNet2DConditionModel if model == "unet" else AutoencoderKL).from_config(config)
    except _BAD_CONFIG as error:
        raise _no_description(f"{model}/config.json", name, error) from error


def _no_description(file: str, name: str, error: Exception) -> CheckpointError:
    reason = str(error).partition("\n")[0]
    return CheckpointError(f"{file} of {name} describes no Stable Diffusion: {type(error).__name__}: {reason}")


def _read_tokenizer(folder: Path) -> CLIPTokenizer:
    from transformers import CLIPTokenizer

    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # tokenizers raises nothing more special than this
        # The JSON files have been read before, which leaves the one that is no JSON.
        merges = folder / "merges.txt"
        raise DamagedFile(merges if merges.is_file() else folder / "tokenizer.json") from error


def _check_fit(
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    name: str,
) -> None:
    """Refuse parts that do not belong together, such as those of another kind of diffusion model."""
    complaint = f"The parts of {name} do not fit together"
    for what, got, expected in (
        ("latent channels into the unet", unet.config.in_channels, vae.config.latent_channels),
        ("text features into the unet", unet.config.cross_attention_dim, text_encoder.config.hidden_size),
    ):
        if got != expected:
            raise CheckpointError(f"{complaint}: expected {expected} {what}, got {got}.")
    vocab_size = text_encoder.config.vocab_size
    if len(tokenizer) > vocab_size:
        raise CheckpointError(
            f"{complaint}: expected at most {vocab_size} tokens in the tokenizer, got {len(tokenizer)}."
        )


def _fill(module: torch.nn.Module, files: list[Path], dtype: torch.dtype, complaint: str) -> None:
    """Put the tensors of the files into an empty model, each in its place and none left over."""
    expected = module.state_dict()
    found: dict[str, torch.Tensor] = {}
    for file in files:
        for name, tensor in read_tensors(file).items():
            found[_todays_name(name, expected)] = tensor
    for name, tensor in expected.items():
        if name not in found:
            raise CheckpointError(f"{complaint}: expected {name}, which is missing.")
        shape, got = tuple(tensor.shape), tuple(found[name].shape)
        if shape != got:
            raise CheckpointError(f"{complaint}: expected {name} of shape {shape}, got {got}.")
    for name in found:
        # Position ids were saved in 2022; today's models count for themselves.
        if name not in expected and not name.endswith("position_ids"):
            raise CheckpointError(f"{complaint}: there is no place for {name}.")
    # A copy, so that the model no longer hangs on the files that the tensors are mapped from.
    placed = {name: found[name].to(dtype, copy=True) for name in expected}
    module.load_state_dict(placed, assign=True)


def _round(module: torch.nn.Module, dtype: torch.dtype) -> None:
    module.load_state_dict({name: tensor.to(dtype) for name, tensor in module.state_dict().items()}, assign=True)


def _arrange(unet: UNet2DConditionModel) -> None:
    """Lay the weights of convolutions out as the denoising loop's pictures are, as kernels like it best."""
    import torch

    if unet.device.type != "mps":
        unet.to(memory_format=torch.channels_last)


def _todays_name(name: str, expected: Container[str]) -> str:
    """The name in today's models of a weight that was saved by any version since 2022."""
    for old, new in _RENAMED:
        name = name.replace(old, new)
    # Versions of transformers differ in whether the text encoder's weights carry this prefix.
    bare = name.removeprefix("text_model.")
    return bare if bare in expected else f"text_model.{bare}" if f"text_model.{bare}" in expected else name
