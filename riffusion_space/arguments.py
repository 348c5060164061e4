"""The tasks' arguments: what is allowed, checked before a checkpoint is even loaded.

An argument means the same in every task, so one table serves them all, the command line and the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from riffusion_space.arrangement import MAX_SECTION_BARS, MAX_SECTIONS, Section, as_sections, length_s
from riffusion_space.audio import Waveform
from riffusion_space.config import Config
from riffusion_space.prompts import check_prompt
from riffusion_space.regions import MIN_REGION_S, as_regions
from riffusion_space.schedulers import check_scheduler
from riffusion_space.seed_images import names
from riffusion_space.spectrogram import SpectrogramParams
from riffusion_space.tempo import MAX_BARS, MAX_BPM, MIN_BPM, bar_s, key_name

MIN_SECONDS = 1.0
MIN_CLIPS = 2
MAX_GUIDANCE = 30.0
MAX_SEED = 2**32 - 1
MAX_TRANSITION = 32  # chunks of a stream
SIDES = ("right", "left")
WHOLE = ("seed", "seed_b", "steps", "clips", "bars", "anew", "transition")  # numbers without a fraction


def check_arguments(config: Config, **arguments: Any) -> None:
    """Raise ValueError, one sentence, for the first argument of a task that is not allowed.

    None passes where it leaves the choice to the checkpoint. What needs a file to be read is not checked here.
    """
    for name, value in arguments.items():
        if name in ("prompt", "prompt_a", "prompt_b", "negative_prompt"):
            check_prompt(name, value)
        elif name in ("audio", "audio_a", "audio_b", "duration_s", "strength", "clips", "regions", "seconds", "side",
                      "sections", "steadiness", "wildness", "transition"):
            _check_limits(config, name, value)
        elif value is not None:
            _check_limits(config, name, value)
    if "prompt_b" in arguments and not arguments["prompt_b"].strip() and arguments.get("seed_b") is None:
        raise ValueError("expected prompt_b or seed_b to say where to go, got neither")
    if arguments.get("bars") is not None:
        _check_bars(config, arguments["bars"], arguments.get("bpm"))
    if "sections" in arguments:
        _check_sections(config, as_sections(arguments["sections"]), arguments.get("bpm"), arguments.get("anew"))
        if ("audio" in arguments) != (arguments.get("anew") is not None):
            raise ValueError("expected audio, the piece as it is, and anew, the number of the section that is to "
                             "change, got one without the other")


def limits(config: Config) -> dict[str, tuple[float, float]]:
    """The least and the most that is allowed, of every argument that is a number."""
    return {
        "seed": (0, MAX_SEED), "seed_b": (0, MAX_SEED), "steps": (1, config.max_steps),
        "clips": (MIN_CLIPS, config.max_clips), "guidance": (0, MAX_GUIDANCE), "guidance_b": (0, MAX_GUIDANCE),
        "strength": (0, 1), "strength_b": (0, 1), "steadiness": (0, 1), "duration_s": (MIN_SECONDS, config.max_seconds),
        "seconds": (MIN_REGION_S, config.max_seconds), "bpm": (MIN_BPM, MAX_BPM), "bars": (1, MAX_BARS),
        "anew": (1, MAX_SECTIONS), "wildness": (0, 1), "transition": (1, MAX_TRANSITION),
    }


def check_longer(config: Config, sound_s: float, seconds: float) -> None:
    """Raise ValueError where a sound would become longer than is allowed."""
    if sound_s + seconds > config.max_seconds:
        raise ValueError(f"expected at most {config.max_seconds:g} s in all, got {sound_s:.2f} s of sound and "
                         f"{seconds:g} s more")


def _check_limits(config: Config, name: str, value: Any) -> None:
    if name in WHOLE:
        _check_whole(name, value, *limits(config)[name])
    elif name in limits(config):
        check_number(name, value, *limits(config)[name])
    elif name == "regions":
        as_regions(value, SpectrogramParams())
    elif name == "side" and value not in SIDES:
        raise ValueError(f"expected side to be {' or '.join(SIDES)}, got {_shown(value)}")
    elif name == "scheduler":
        check_scheduler(value)
    elif name == "key":
        key_name(value)
    elif name == "loop" and not isinstance(value, bool):
        raise ValueError(f"expected loop to be true or false, got {_shown(value)}")
    elif name == "seed_image" and isinstance(value, (str, Path)) and str(value) not in names() \
            and not Path(value).is_file():
        raise ValueError(f"expected a seed image out of {', '.join(names())}, or a file, got {str(value)!r}")
    elif name in ("audio", "audio_a", "audio_b"):
        if not isinstance(value, (str, Path, Waveform)):
            raise ValueError(f"expected {name} to be a file or a waveform, got {type(value).__name__}")
        if not isinstance(value, Waveform) and not Path(value).is_file():
            wanted = "an audio file" if name == "audio" else f"{name} to be an audio file"
            raise ValueError(f"expected {wanted}, but there is no {Path(value).name!r}")
        if isinstance(value, Waveform) and value.channels > 2:
            raise ValueError(f"expected a waveform of 1 or 2 channels, got {value.channels}")


def _check_bars(config: Config, bars: int, bpm: float | None) -> None:
    if bpm is None:
        raise ValueError("expected bpm beside bars, to say how long a bar is, got bars alone")
    seconds = bars * bar_s(bpm)
    if not MIN_SECONDS <= seconds <= config.max_seconds:
        raise ValueError(f"expected bars that last from {MIN_SECONDS:g} to {config.max_seconds:g} s, "
                         f"got {bars} at {bpm:g} bpm, which is {seconds:.1f} s")


def _check_sections(config: Config, sections: Sequence[Section], bpm: Any, anew: int | None) -> None:
    check_number("bpm", bpm, MIN_BPM, MAX_BPM)
    for number, section in enumerate(sections, 1):
        check_prompt(f"the prompt of section {number}", section.prompt)
        _check_whole(f"bars of section {number}", section.bars, 1, MAX_SECTION_BARS)
        if section.seed is not None:
            _check_whole(f"seed of section {number}", section.seed, 0, MAX_SEED)
    seconds = length_s(sections, bpm)
    if not MIN_SECONDS <= seconds <= config.max_seconds:
        raise ValueError(f"expected sections that last from {MIN_SECONDS:g} to {config.max_seconds:g} s, got "
                         f"{sum(section.bars for section in sections)} bars at {bpm:g} bpm, which is {seconds:.1f} s")
    if anew is not None and anew > len(sections):
        raise ValueError(f"expected anew from 1 to {len(sections)}, the number of a section, got {anew}")


def check_number(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError for what is no number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) \
            or not low <= value <= high:
        raise ValueError(f"expected {name} from {low:g} to {high:g}, got {_shown(value)}")


def _check_whole(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= value <= high:
        raise ValueError(f"expected {name} to be a whole number from {low} to {high}, got {_shown(value)}")


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)
