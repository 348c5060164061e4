"""Write what distillation has changed as a LoRA, which a checkpoint's folder brings beside its own weights.

A student's weights are the checkpoint's and a difference, and of each layer's difference the best matrix of some rank
is kept: a singular value decomposition (Eckart and Young, 1936), as for other models that are handed on as a LoRA (Luo
et al., "LCM-LoRA: A Universal Stable-Diffusion Acceleration Module", 2023). Ranks differ: the file's bytes go where
they hold most of the change.

``python -m riffusion_space.training.few_steps data/distilled-8 --out assets/riffusion-mini``
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

from riffusion_space.training.distill import STEPS_FILE, student_weights
from riffusion_space.weights import FEW_STEPS_FILE

# The student has the guidance in it, and still hears words better with a little more in its first steps, where what is
# played is decided: benchmarks/adherence.py. A negative prompt is heard there, too.
GUIDANCE, GUIDED = 2.0, 0.5


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


def write(student_folder: Path, checkpoint: Path, megabytes: float) -> float:
    """Write the LoRA into ``checkpoint`` and recommend its settings there; the share of the change that it holds."""
    bare, student = (UNet2DConditionModel.from_pretrained(folder / "unet", dtype=torch.float32)
                     for folder in (checkpoint, student_folder))
    moved = {id(weight) for weight in student_weights(student)}
    before = dict(bare.named_parameters())
    changes = {name: weight.detach() - before[name].detach() for name, weight in student.named_parameters()
               if id(weight) in moved}
    layers = [low_rank(change) for change in changes.values()]
    tensors, held = {}, 0.0
    for name, (up, down), rank in zip(changes, layers, best_ranks(layers, round(megabytes * 1e6 / 2))):
        if rank == 0:
            continue
        layer = f"unet.{name.removesuffix('.weight')}"
        tensors[f"{layer}.lora_A.weight"] = down[:rank].half().contiguous()
        tensors[f"{layer}.lora_B.weight"] = up[:, :rank].half().contiguous()
        held += (up[:, :rank].flatten(1) @ down[:rank].flatten(1)).square().sum().item()
    save_file(tensors, checkpoint / FEW_STEPS_FILE, metadata={"format": "pt"})
    own = json.loads((checkpoint / "riffusion.json").read_text(encoding="utf-8"))
    steps = json.loads((student_folder / STEPS_FILE).read_text())
    own["few_steps"] = {"steps": steps, "guidance": GUIDANCE, "guided": GUIDED, "scheduler": "ddim",
                        "beat": own.get("beat", 0.0)}
    (checkpoint / "riffusion.json").write_text(json.dumps(own, indent=2) + "\n", encoding="utf-8")
    return held / max(sum(change.square().sum().item() for change in changes.values()), 1e-12)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a distilled student as a LoRA of its checkpoint.")
    parser.add_argument("student", type=Path, help="the folder that training.distill wrote")
    parser.add_argument("--out", type=Path, default=Path("assets/riffusion-mini"), help="the checkpoint's folder")
    parser.add_argument("--megabytes", type=float, default=9.8, help="how large the file may become")
    args = parser.parse_args()
    held = write(args.student, args.out, args.megabytes)
    size = (args.out / FEW_STEPS_FILE).stat().st_size
    print(f"{args.out / FEW_STEPS_FILE}: {size / 1e6:.1f} MB, {held:.1%} of the change")


if __name__ == "__main__":
    main()
