"""A student's change of its checkpoint as a LoRA: cut to a file's size, and trained in that form.

Of each layer's difference the best matrix of some rank is kept: a singular value decomposition (Eckart and Young,
1936), as for other models that are handed on as a LoRA (Luo et al., "LCM-LoRA: A Universal Stable-Diffusion
Acceleration Module", 2023). Ranks differ: the file's numbers go where they hold most of the change. What holds most of
the change is not what counts most for the sound, so that the matrices are then trained: :func:`lay_over`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import parametrize

from riffusion_space.lora import read_lora


def low_rank(difference: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A layer's change (out, in, ...) as ``up`` (out, r, ...) and ``down`` (r, in, ...), the most important rank first.

    >>> up, down = low_rank(torch.ones(4, 6, 3, 3))
    >>> up.shape, down.shape, torch.allclose(up[:, :1].flatten(1) @ down[:1].flatten(1), torch.ones(4, 54), atol=1e-5)
    (torch.Size([4, 4, 1, 1]), torch.Size([4, 6, 3, 3]), True)
    """
    left, values, right = torch.linalg.svd(difference.flatten(1), full_matrices=False)
    root = values.sqrt()
    up, down = left * root, root[:, None] * right
    return (up.reshape(*up.shape, *(1 for _ in difference.shape[2:])),
            down.reshape(len(values), *difference.shape[1:]))


def best_ranks(layers: list[tuple[torch.Tensor, torch.Tensor]], numbers: int) -> list[int]:
    """The rank to keep of each layer's ``low_rank``: ``numbers`` numbers are to hold as much change as they can.

    >>> best_ranks([(torch.eye(2) * 3, torch.eye(2) * 3), (torch.eye(2), torch.eye(2))], 13)
    [2, 1]
    """
    worth = []  # of each rank of each layer, what it holds for a number
    for index, (up, down) in enumerate(layers):
        cost = up[:, 0].numel() + down[0].numel()
        held = up.flatten(1).square().sum(0) * down.flatten(1).square().sum(1)
        worth += [(value / cost, -rank, index, cost) for rank, value in enumerate(held.tolist())]
    ranks = [0] * len(layers)
    for _, _, index, cost in sorted(worth, reverse=True):
        if cost <= numbers:
            ranks[index] += 1
            numbers -= cost
    return ranks


def cut(changes: Mapping[str, torch.Tensor], numbers: int) -> tuple[dict[str, torch.Tensor], float]:
    """Changes of weights, by name, as the tensors of a LoRA of so many numbers; and the share of them that it holds."""
    layers = [low_rank(change) for change in changes.values()]
    tensors, held = {}, 0.0
    for name, (up, down), rank in zip(changes, layers, best_ranks(layers, numbers)):
        if rank:
            tensors |= _layer(name.removesuffix(".weight"), up[:, :rank], down[:rank])
            held += (up[:, :rank].flatten(1) @ down[:rank].flatten(1)).square().sum().item()
    return tensors, held / max(sum(change.square().sum().item() for change in changes.values()), 1e-12)


class _Changed(nn.Module):
    """A weight and the product of two matrices, of which only these learn."""

    def __init__(self, up: torch.Tensor, down: torch.Tensor) -> None:
        super().__init__()
        self.up, self.down = nn.Parameter(up), nn.Parameter(down)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            return weight + (self.up.flatten(1) @ self.down.flatten(1)).reshape(weight.shape)


def lay_over(unet: nn.Module, file: Path) -> list[nn.Parameter]:
    """Lay a LoRA over a UNet, all of whose own weights are frozen; the matrices, which learn."""
    layers = read_lora(file, file.stem, {"unet": unet}).layers
    unet.requires_grad_(False)
    learning: list[nn.Parameter] = []
    for (_, module), layer in layers.items():
        changed = _Changed(layer.up.float() * layer.scale, layer.down.float()).to(unet.device)
        parametrize.register_parametrization(unet.get_submodule(module), "weight", changed)
        learning += [changed.up, changed.down]
    return learning


def laid_over(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a LoRA that was laid over a UNet, of the latter's state or an average of it."""
    place = ".parametrizations.weight.0.up"
    tensors: dict[str, torch.Tensor] = {}
    for name, up in state.items():
        if name.endswith(place):
            tensors |= _layer(name.removesuffix(place), up, state[name.removesuffix("up") + "down"])
    return tensors


def _layer(module: str, up: torch.Tensor, down: torch.Tensor) -> dict[str, torch.Tensor]:
    """A layer's matrices under the names that diffusers gives them, in float16."""
    return {f"unet.{module}.lora_A.weight": down.detach().half().cpu().contiguous(),
            f"unet.{module}.lora_B.weight": up.detach().half().cpu().contiguous()}
