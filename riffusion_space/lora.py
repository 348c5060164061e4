"""LoRAs: small files that change a checkpoint's sound, laid over its weights and taken off again.

A LoRA (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021) adds B A to a layer's weight W. Here the
sum W + w1 B1 A1 + w2 B2 A2 + ... is put in W's place, which costs nothing while sampling, and W itself is kept: taking
the LoRAs off puts the very same tensor back, so the samples are those of the bare checkpoint to the last bit.

Read are safetensors files of diffusers (``unet.[...].lora_A.weight`` or ``.lora.down.weight``) and of the web UIs
(``lora_unet_[...].lora_down.weight`` with ``.alpha``), for linear and convolutional layers.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riffusion_space import hub
from riffusion_space.weights import CheckpointError, DamagedFile, read_tensors

if TYPE_CHECKING:
    import torch

LORA_FILE = "pytorch_lora_weights.safetensors"
MAX_LORA_WEIGHT = 10.0

_MATRIX = re.compile(r"(?P<layer>.+?)[._]lora(?:_linear_layer)?[._](?P<part>down|up|A|B)(?:\.default)?\.weight")
_PREFIXES = {"unet.": "unet", "lora_unet_": "unet", "text_encoder.": "text_encoder", "lora_te_": "text_encoder",
             "lora_te1_": "text_encoder"}


@dataclass(frozen=True, eq=False)
class Layer:
    """What a LoRA adds to one layer: ``scale * up @ down``.

    ``down`` (rank, in) or (rank, in, height, width), ``up`` (out, rank) or (out, rank, 1, 1).
    """

    down: torch.Tensor
    up: torch.Tensor
    scale: float

    def change(self, shape: torch.Size, device: torch.device) -> torch.Tensor:
        """The change of a weight of that shape, float32."""
        up = self.up.to(device).float().flatten(1)
        down = self.down.to(device).float().flatten(1)
        return (up @ down).reshape(shape) * self.scale


@dataclass(frozen=True, eq=False)
class Lora:
    """A LoRA that fits a checkpoint: its layers by model ("unet", "text_encoder") and module name.

    ``revision`` is the beginning of the file's SHA-256.
    """

    name: str
    revision: str
    layers: dict[tuple[str, str], Layer]


class LoraStack:
    """The LoRAs laid over one checkpoint, in the order in which they came.

    Whoever changes it must see to it that nobody samples from the checkpoint meanwhile: the pipeline does.
    """

    def __init__(self) -> None:
        self._loras: dict[str, tuple[Lora, float]] = {}
        self._bare: dict[tuple[str, str], torch.Tensor] = {}

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each LoRA by name."""
        return {name: weight for name, (_, weight) in self._loras.items()}

    @property
    def settings(self) -> list[dict[str, Any]]:
        """What makes the same sound again: name, weight and revision of each LoRA."""
        return [{"name": name, "weight": weight, "revision": lora.revision}
                for name, (lora, weight) in self._loras.items()]

    def set(self, models: Mapping[str, torch.nn.Module], loras: dict[str, tuple[Lora, float]]) -> None:
        """Lay these LoRAs with their weights over the bare models, in place of those that were there.

        The bare weights are kept on the CPU and layers are changed one by one, so that a GPU holds a model once, and
        one layer more. An error leaves everything as it was.
        """
        try:
            self._lay(models, loras)
        except BaseException:
            self._lay(models, self._loras)
            raise
        self._loras = dict(loras)

    def _lay(self, models: Mapping[str, torch.nn.Module], loras: Mapping[str, tuple[Lora, float]]) -> None:
        import torch

        wanted = [(lora, weight) for lora, weight in loras.values() if weight != 0]
        changed = {key: None for lora, _ in wanted for key in lora.layers}
        for key in [*(key for key in self._bare if key not in changed), *changed]:
            model, name = key
            module = models[model].get_submodule(name)
            there = module.weight.device
            bare = self._bare.setdefault(key, module.weight.cpu())  # itself, where it is on the CPU
            if key not in changed and bare.device == there:
                module.weight = bare
                continue
            with torch.no_grad():
                total = bare.to(there).float()
                for lora, weight in wanted:
                    if key in lora.layers:
                        total = total + weight * lora.layers[key].change(bare.shape, there)
                module.weight = torch.nn.Parameter(total.to(bare.dtype), requires_grad=False)
        self._bare = {key: self._bare[key] for key in changed}

    def with_lora(self, lora: Lora, weight: float) -> dict[str, tuple[Lora, float]]:
        """What is loaded, and one more. ValueError when its name is taken."""
        if lora.name in self._loras:
            raise ValueError(f"expected a name that no other LoRA has, got {lora.name!r} twice: "
                             "name one of them, or unload the LoRAs first")
        check_lora_weight(lora.name, weight)
        return {**self._loras, lora.name: (lora, float(weight))}

    def with_weights(self, weights: Mapping[str, float]) -> dict[str, tuple[Lora, float]]:
        """What is loaded, some with other weights. ValueError for a name that is not loaded."""
        self._check_names(weights)
        for name, weight in weights.items():
            check_lora_weight(name, weight)
        return {name: (lora, float(weights.get(name, weight))) for name, (lora, weight) in self._loras.items()}

    def without(self, names: Collection[str]) -> dict[str, tuple[Lora, float]]:
        """What is loaded, but for these. ValueError for a name that is not loaded."""
        self._check_names(names)
        return {name: entry for name, entry in self._loras.items() if name not in names}

    def _check_names(self, names: Collection[str]) -> None:
        for name in names:
            if name not in self._loras:
                loaded = ", ".join(self._loras) or "none"
                raise ValueError(f"expected the name of a loaded LoRA ({loaded}), got {name!r}")


def check_lora_weight(name: str, weight: float) -> None:
    """Raise ValueError for a weight that is no number from -10 to 10; 1 is what the LoRA was trained for."""
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not abs(weight) <= MAX_LORA_WEIGHT:
        raise ValueError(f"expected the weight of LoRA {name!r} from {-MAX_LORA_WEIGHT:g} to {MAX_LORA_WEIGHT:g}, "
                         f"got {weight!r}")


def parse_lora(text: str) -> tuple[str, float]:
    """A source with an optional weight behind a colon.

    >>> parse_lora("loras/bells:0.7"), parse_lora("loras/bells")
    (('loras/bells', 0.7), ('loras/bells', 1.0))
    """
    source, colon, tail = text.rpartition(":")
    try:
        weight = float(tail) if colon else 1.0
    except ValueError:
        return text, 1.0  # the colon belongs to the path
    source = source if colon else text
    check_lora_weight(source, weight)
    return source, weight


def parse_loras(text: str) -> list[tuple[str, float]]:
    """Several of them, separated by commas; empty for an empty text.

    >>> parse_loras("bells:0.5, owner/model")
    [('bells', 0.5), ('owner/model', 1.0)]
    """
    return [parse_lora(part.strip()) for part in text.split(",") if part.strip()]


def find_lora(source: str | Path) -> tuple[Path, str]:
    """The file of a LoRA, downloaded if need be, and the name it goes by when it is given no other.

    Args:
        source: a .safetensors file, a folder that holds one, or a Hub id with an optional ``@revision``.

    Raises:
        ValueError: there is no such file, folder or model, or none or several LoRAs in it.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        found = choose_file((file.name for file in path.iterdir() if file.is_file()), path.resolve().name)
        return path / found, path.resolve().name
    if path.is_file():
        if path.suffix.lower() != ".safetensors":
            raise ValueError(f"expected a LoRA as .safetensors, got {path.name!r}")
        return path, path.resolve().parent.name if path.name == LORA_FILE else path.stem
    if path.suffix.lower() == ".safetensors":
        raise ValueError(f"expected a LoRA's file or folder, but there is none at {str(source)!r}")
    if not hub.HUB_NAME.fullmatch(str(source)):
        raise ValueError(f"expected a LoRA's file, folder or Hub id such as owner/model, got {str(source)!r}")
    repo_id, _, revision = str(source).partition("@")
    return hub.fetch_one(repo_id, revision or "main", lambda names: choose_file(names, repo_id)), repo_id.split("/")[1]


def choose_file(names: Any, where: str) -> str:
    """The LoRA's file among the names in a folder: diffusers' name for it, else the only safetensors file."""
    files = sorted(name for name in names if name.endswith(".safetensors") and "/" not in name)
    if LORA_FILE in files:
        return LORA_FILE
    if len(files) != 1:
        raise ValueError(f"expected {LORA_FILE} or one other .safetensors file in {where}, got {len(files)}")
    return files[0]


def fetch_lora(source: str | Path, name: str | None, models: Mapping[str, torch.nn.Module]) -> Lora:
    """A LoRA from wherever it is: :func:`find_lora`, then :func:`read_lora`.

    A damaged file that came from the Hub leaves the cache, so that the next time it is downloaded anew.
    """
    path, found = find_lora(source)
    try:
        return read_lora(path, name or found, models)
    except DamagedFile as damage:
        if Path(source).expanduser().exists():
            raise CheckpointError(f"The LoRA {path.name} is truncated or damaged: copy it again.") from damage
        hub.discard(path)
        raise CheckpointError(f"The cached {path.name} of {source} was truncated or damaged and has been removed: "
                              "try again to download it anew.") from damage


def read_lora(path: Path, name: str, models: Mapping[str, torch.nn.Module]) -> Lora:
    """A LoRA's file, checked to fit the models ("unet", "text_encoder").

    Raises:
        ValueError: the file is damaged, holds no LoRA or one of another kind, or does not fit; one sentence.
    """
    tensors = read_tensors(path)
    alphas = {key.removesuffix(".alpha"): float(value) for key, value in tensors.items() if key.endswith(".alpha")}
    matrices: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.endswith(".alpha"):
            continue
        match = _MATRIX.fullmatch(key)
        if match is None:
            raise ValueError(f"expected a LoRA of plain down and up matrices in {path.name!r}, got {key}")
        part = {"A": "down", "B": "up"}.get(match["part"], match["part"])
        matrices.setdefault(match["layer"], {})[part] = value.clone()  # no longer mapped from the file
    if not matrices:
        raise ValueError(f"expected a LoRA in {path.name!r}, got a file without its matrices")
    modules = {model: {_squeezed(module): module for module, part in network.named_modules()
                       if getattr(part, "weight", None) is not None} for model, network in models.items()}
    described = _metadata(path)
    layers = {}
    for layer, parts in matrices.items():
        model, module = _place(layer, modules, path.name)
        if parts.keys() != {"down", "up"}:
            raise ValueError(f"expected a down and an up matrix for {layer} in {path.name!r}, got one of them")
        shape = models[model].get_submodule(module).weight.shape
        down, up = parts["down"], parts["up"]
        rank = down.shape[0] if down.ndim > 1 else 0
        fits = rank and up.ndim > 1 and up.shape[0] == shape[0] and up.flatten(1).shape[1] == rank \
            and down.numel() == rank * math.prod(shape[1:])
        if not fits:
            raise ValueError(f"expected matrices for a weight of {tuple(shape)} in {layer} of {path.name!r}, got "
                             f"{tuple(up.shape)} and {tuple(down.shape)}: it was made for another checkpoint")
        if not (down.isfinite().all() and up.isfinite().all()):
            raise ValueError(f"expected finite numbers in {path.name!r}, got others in {layer}")
        scale = alphas[layer] / rank if layer in alphas else _described_scale(described, model, module, rank)
        layers[model, module] = Layer(down, up, scale)
    return Lora(name, hashlib.sha256(path.read_bytes()).hexdigest()[:16], layers)


def _squeezed(module: str) -> str:
    """A module's name as it can be compared across formats: kohya's has underscores where others have dots."""
    return module.removeprefix("text_model.").replace(".", "_")


def _place(layer: str, modules: dict[str, dict[str, str]], file: str) -> tuple[str, str]:
    """The model and the module that a layer's name in a LoRA means."""
    for prefix, model in _PREFIXES.items():
        if layer.startswith(prefix):
            rest = layer.removeprefix(prefix).removeprefix("text_model.").removeprefix("text_model_")
            rest = rest.replace(".processor.", ".")  # diffusers 0.11 to 0.20
            known = modules[model]
            for name in (rest, f"{rest}.0"):  # to_out was a layer of its own in the processors
                if name.replace(".", "_") in known:
                    return model, known[name.replace(".", "_")]
            break
    raise ValueError(f"expected a LoRA for this checkpoint in {file!r}, but there is no layer for {layer}")


def _metadata(path: Path) -> dict[str, Any]:
    """The settings of peft that diffusers writes into a file's header; empty where there are none."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get("lora_adapter_metadata", "{}")
    try:
        described = json.loads(text)
    except ValueError as error:
        raise ValueError(f"expected JSON in the metadata of {path.name!r}, got something else") from error
    return described if isinstance(described, dict) else {}


def _described_scale(described: dict[str, Any], model: str, module: str, rank: int) -> float:
    """The scale that the metadata gives: alpha over the rank, or over its root (rank-stabilized); else 1."""
    alpha = described.get(f"{model}.alpha_pattern", {}).get(module, described.get(f"{model}.lora_alpha", None))
    if alpha is None:
        return 1.0
    return float(alpha) / (math.sqrt(rank) if described.get(f"{model}.use_rslora") else rank)
