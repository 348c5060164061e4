"""Write what distillation has changed as a LoRA, which a checkpoint's folder brings beside its own weights.

``python -m riffusion_space.training.few_steps data/distilled-8 --out assets/riffusion-mini`` cuts the change to the
size of a file; where distillation has trained a LoRA itself, it takes that.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

from riffusion_space.training.distill import STEPS_FILE, student_weights
from riffusion_space.training.low_rank import cut
from riffusion_space.weights import FEW_STEPS_FILE

# The student has the guidance in it, and still hears words better with a little more in its first steps, where what is
# played is decided: benchmarks/adherence.py. A negative prompt is heard there, too.
GUIDANCE, GUIDED = 2.0, 0.5


def write(student: Path, checkpoint: Path, megabytes: float) -> float:
    """Write a student's LoRA into ``checkpoint`` and recommend its settings there; the share of its change in it."""
    if (student / FEW_STEPS_FILE).exists():
        (checkpoint / FEW_STEPS_FILE).write_bytes((student / FEW_STEPS_FILE).read_bytes())
        held = 1.0
    else:
        bare, changed = (UNet2DConditionModel.from_pretrained(folder / "unet", dtype=torch.float32)
                         for folder in (checkpoint, student))
        moved = {id(weight) for weight in student_weights(changed)}
        before = dict(bare.named_parameters())
        tensors, held = cut({name: weight.detach() - before[name].detach()
                             for name, weight in changed.named_parameters() if id(weight) in moved},
                            round(megabytes * 1e6 / 2))
        save_file(tensors, checkpoint / FEW_STEPS_FILE, metadata={"format": "pt"})
    own = json.loads((checkpoint / "riffusion.json").read_text(encoding="utf-8"))
    steps = json.loads((student / STEPS_FILE).read_text())
    own["few_steps"] = {"steps": steps, "guidance": GUIDANCE, "guided": GUIDED, "scheduler": "ddim",
                        "beat": own.get("beat", 0.0)}
    (checkpoint / "riffusion.json").write_text(json.dumps(own, indent=2) + "\n", encoding="utf-8")
    return held


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
