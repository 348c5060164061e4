"""The tasks' arguments: what is allowed, checked before a checkpoint is even loaded.

An argument means the same in every task, so one table serves them all, the command line and the page.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from riffusion_space.audio import Waveform
from riffusion_space.config import Config
from riffusion_space.prompts import check_prompt
from riffusion_space.schedulers import check_scheduler
from riffusion_space.seed_images import names

MIN_SECONDS = 1.0
MIN_CLIPS = 2
MAX_GUIDANCE = 30.0
MAX_SEED = 2**32 - 1


def check_arguments(config: Config, **arguments: Any) -> None:
    """Raise ValueError, one sentence, for the first argument of a task that is not allowed.

    None passes where it leaves the choice to the checkpoint. What needs a file to be read is not checked here.
    """
    for name, value in arguments.items():
        if name in ("prompt", "prompt_a", "prompt_b", "negative_prompt"):
            check_prompt(name, value, required=name in ("prompt", "prompt_a"))
        elif name in ("audio", "duration_s", "strength", "clips"):
            _check_limits(config, name, value)
        elif value is not None:
            _check_limits(config, name, value)
    if "prompt_b" in arguments and not arguments["prompt_b"].strip() and arguments.get("seed_b") is None:
        raise ValueError("expected prompt_b or seed_b to say where to go, got neither")


def _check_limits(config: Config, name: str, value: Any) -> None:
    if name in ("seed", "seed_b"):
        _check_whole(name, value, 0, MAX_SEED)
    elif name == "steps":
        _check_whole(name, value, 1, config.max_steps)
    elif name == "clips":
        _check_whole(name, value, MIN_CLIPS, config.max_clips)
    elif name in ("guidance", "guidance_b"):
        check_number(name, value, 0, MAX_GUIDANCE)
    elif name in ("strength", "strength_b"):
        check_number(name, value, 0, 1)
    elif name == "duration_s":
        check_number(name, value, MIN_SECONDS, config.max_seconds)
    elif name == "scheduler":
        check_scheduler(value)
    elif name == "seed_image" and isinstance(value, (str, Path)) and str(value) not in names() \
            and not Path(value).is_file():
        raise ValueError(f"expected a seed image out of {', '.join(names())}, or a file, got {str(value)!r}")
    elif name == "audio":
        if not isinstance(value, (str, Path, Waveform)):
            raise ValueError(f"expected audio to be a file or a waveform, got {type(value).__name__}")
        if not isinstance(value, Waveform) and not Path(value).is_file():
            raise ValueError(f"expected an audio file, but there is no {Path(value).name!r}")
        if isinstance(value, Waveform) and value.channels > 2:
            raise ValueError(f"expected a waveform of 1 or 2 channels, got {value.channels}")


def check_number(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError for what is no number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) \
            or not low <= value <= high:
        raise ValueError(f"expected {name} from {low:g} to {high:g}, got {_shown(value)}")


def _check_whole(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"expected {name} to be a whole number from {low} to {high}, got {_shown(value)}")


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)
