"""What can be chosen about fine-tuning, with one sentence for what is impossible. No heavy imports: --help uses it."""

from __future__ import annotations

import math
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from riffusion_space.prompts import check_prompt, escape

TARGETS = ("attention", "transformer", "all")
PRECISIONS = ("auto", "no", "fp16", "bf16")
STEREO_MODES = ("mix", "each")
# Highest learning rates by the size of the UNet: a small one takes, and on a CPU has to take, larger steps.
LORA_RATE, SMALL_LORA_RATE, FULL_RATE, SMALL_FULL_RATE = 1e-4, 4e-3, 1e-5, 1e-4
SMALL_UNET = 100_000_000  # parameters; Stable Diffusion's has 860 million, riffusion-mini's 21

# Options that may differ between the parts of one run: they do not change what a step does.
_FREE = ("checkpoint", "steps", "precision", "gradient_checkpointing", "check_every", "patience", "save_every",
         "sample_every", "sample_prompt", "device", "cache", "caption", "stereo", "beat_aligned", "push")


@dataclass(frozen=True)
class Options:
    """How to fine-tune. Raises ValueError, one sentence, for what is out of range."""

    checkpoint: str = "auto"  # as for the pipeline
    steps: int = 400  # optimizer steps, over all parts of a run
    batch: int = 4  # clips at once in each process
    accumulate: int = 1  # batches to a step
    rate: float | None = None  # highest learning rate; None takes what suits the size of the UNet
    full: bool = False  # all weights of the UNet instead of a LoRA
    rank: int = 8  # of the LoRA
    target: str = "all"  # layers that get LoRA: a name of TARGETS
    text_encoder: bool = False  # train the text encoder, too
    caption: str | None = None  # one for every clip, instead of the files' own
    stereo: str = "mix"  # left and right to one clip, or "each" a clip of its own
    beat_aligned: bool = False  # clips begin on a beat
    dropped: float = 0.1  # share of captions left out, for classifier-free guidance
    held_out: float = 0.1  # share of the files that are judged with and never trained on
    check_every: int = 50  # steps between two looks at the held-out loss
    patience: int = 6  # looks without a better loss before it stops; 0 never stops
    save_every: int = 50  # steps between two saved states
    sample_every: int = 100  # steps between two samples; 0 makes none
    sample_prompt: str | None = None  # None takes the caption of a held-out clip
    precision: str = "auto"  # of the arithmetic: on CUDA bf16 where it can, else fp16; elsewhere float32
    gradient_checkpointing: bool = False  # less memory, more time
    device: str | None = None  # None takes the best there is, or what accelerate was told
    seed: int = 0
    cache: Path | None = None  # folder of the latents; None: in the output
    push: str | None = None  # Hub id that the result goes to, owner/name

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("accumulate", 1), ("rank", 1), ("check_every", 1),
                            ("patience", 0), ("save_every", 1), ("sample_every", 0), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"expected {name} to be a whole number of at least {least}, got {value!r}")
        for name, high in (("dropped", 1.0), ("held_out", 0.5)):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value <= high:
                raise ValueError(f"expected {name} from 0 to {high:g}, got {value!r}")
        for name, allowed in (("target", TARGETS), ("precision", PRECISIONS), ("stereo", STEREO_MODES)):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"expected {name} to be one of {', '.join(allowed)}, got {value!r}")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise ValueError(f"expected a rate above 0, got {self.rate!r}")
        if self.caption is not None and not self.caption.strip():
            raise ValueError("expected caption to say what is heard, got an empty text")
        if self.caption is not None:
            check_prompt("caption", escape(self.caption))
        if self.sample_prompt is not None:
            check_prompt("sample_prompt", self.sample_prompt)

    def peak_rate(self, parameters: int) -> float:
        """The highest learning rate for a UNet of so many parameters."""
        if self.rate is not None:
            return self.rate
        if parameters < SMALL_UNET:
            return SMALL_FULL_RATE if self.full else SMALL_LORA_RATE
        return FULL_RATE if self.full else LORA_RATE

    def identity(self) -> dict[str, Any]:
        """What makes a run this run: with other values it cannot be resumed."""
        return {name: value for name, value in asdict(self).items() if name not in _FREE}

    def command(self, music: str, out: str, processes: int = 1) -> str:
        """The command line that makes the same result, for a shell, of so many processes."""
        start = f"accelerate launch --num_processes {processes}" if processes > 1 else "python"
        words = [f"{start} -m riffusion_space train", shlex.quote(music), "-o", shlex.quote(out)]
        for name, value in asdict(self).items():
            if value != getattr(Options, name) and name not in ("device", "cache", "push"):
                flag = f"--{name.replace('_', '-')}"
                words.append(flag if value is True else f"{flag} {shlex.quote(str(value))}")
        return " ".join(words)
