"""The environment: every RIFFUSION_* variable, read in one place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
# What comes with the code: beside the package in a clone, inside of it where it is installed.
ASSETS = next(path for path in (_PACKAGE / "assets", _PACKAGE.parent / "assets") if path.is_dir())
DTYPES = ("float32", "float16", "bfloat16")
BATCH_ON_GPU = 8  # requests denoised together unless it is said otherwise


@dataclass(frozen=True)
class Config:
    """What an operator may set; a field's variable is ``RIFFUSION_`` and its name in capitals.

    Raises ValueError for a limit that leaves nothing to do, and for a type that is none.
    """

    checkpoint: str = "auto"  # "auto", "embedded", a Hub id with an optional @revision, or a folder
    lora: str = ""  # laid over the checkpoint at start: sources with optional weights, "bells:0.8, owner/model"
    device: str | None = None  # such as "cpu", "cuda:1"; None takes the best there is
    dtype: str | None = None  # of the models' numbers, one of DTYPES; None takes what suits the device
    max_seconds: float = 180.0  # longest piece made or restyled
    max_clips: int = 24  # longest interpolation, in clips
    max_steps: int = 100  # denoising steps of one request
    max_queue: int = 50  # requests that may wait
    max_upload_mb: int = 50  # largest upload
    max_listeners: int = 32  # streams whose states are kept at a time
    max_live_minutes: float = 30.0  # of a live session that the page keeps for saving
    change_model: bool = True  # whether who uses the page may load other checkpoints and LoRAs, for all
    batch: int = 0  # requests denoised together; 0 takes what suits: 8 on a GPU, 1 on a CPU or with low_memory
    low_memory: bool = False  # for GPUs of 4 GB: slower, in less memory
    warm_up: bool = False  # play a clip that nobody hears at start, so that the first request finds all prepared

    def __post_init__(self) -> None:
        if self.dtype not in (None, *DTYPES):
            raise ValueError(f"expected RIFFUSION_DTYPE to be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        for field in fields(self):
            value = getattr(self, field.name)
            least = {"max_clips": 3, "batch": 0}.get(field.name, 1)  # a choice of how many clips
            if isinstance(value, (int, float)) and not isinstance(value, bool) and not value >= least:
                raise ValueError(f"expected RIFFUSION_{field.name.upper()} of at least {least}, got {value}")

    @property
    def requests_at_once(self) -> int:
        """Requests that the page lets through to the model; found out without loading torch, which takes seconds."""
        if self.batch or os.environ.get("SPACES_ZERO_GPU"):  # which makes every request in a process of its own
            return self.batch or 1
        on_gpu = shutil.which("nvidia-smi") if self.device is None else self.device.startswith("cuda")
        return BATCH_ON_GPU if on_gpu and not self.low_memory else 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Config:
        """Read the variables; an empty one counts as not set. ValueError names the variable that cannot be read.

        Where others than the owner of the machine reach the page, they may not change the model unless it is said.
        """
        environment = os.environ if environment is None else environment
        values: dict[str, str | int | float | bool] = {"change_model": not _open_to_others(environment)}
        for field in fields(cls):
            name = f"RIFFUSION_{field.name.upper()}"
            text = environment.get(name, "").strip()
            if not text:
                continue
            kind = {"int": int, "float": float, "bool": _yes_or_no}.get(str(field.type), str)
            try:
                values[field.name] = kind(text)
            except ValueError as error:
                expected = "yes or no" if kind is _yes_or_no else "a number"
                raise ValueError(f"expected {expected} in {name}, got {text!r}") from error
        if values.get("warm_up") and environment.get("SPACES_ZERO_GPU"):
            raise ValueError("expected RIFFUSION_WARM_UP=no on ZeroGPU, which has a GPU only while a request runs, "
                             "got yes")
        if values["change_model"] and environment.get("SPACES_ZERO_GPU"):
            raise ValueError("expected RIFFUSION_CHANGE_MODEL=no on ZeroGPU, which keeps what it began with, got yes")
        return cls(**values)


def _yes_or_no(text: str) -> bool:
    answers = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text.lower() not in answers:
        raise ValueError(text)
    return answers[text.lower()]


def _open_to_others(environment: Mapping[str, str]) -> bool:
    """Whether Gradio, which reads these variables, serves the page to other machines than this one."""
    alone = environment.get("GRADIO_SERVER_NAME", "") in ("", "127.0.0.1", "localhost", "::1")
    return not alone or any(environment.get(name) for name in ("SPACE_ID", "SPACES_ZERO_GPU")) \
        or environment.get("GRADIO_SHARE", "").lower() == "true"
