"""The environment: every RIFFUSION_* variable, read in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Config:
    """What an operator may set; a field's variable is ``RIFFUSION_`` and its name in capitals.

    Raises ValueError for a limit that leaves nothing to do.
    """

    checkpoint: str = "auto"  # "auto", "embedded", a Hub id with an optional @revision, or a folder
    device: str | None = None  # such as "cpu", "cuda:1"; None takes the best there is
    max_seconds: float = 180.0  # longest piece made or restyled
    max_clips: int = 24  # longest interpolation, in clips
    max_steps: int = 100  # denoising steps of one request
    max_queue: int = 50  # requests that may wait
    max_upload_mb: int = 50  # largest upload

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = {"max_clips": 3}.get(field.name, 1)  # a choice of how many clips
            if isinstance(value, (int, float)) and not value >= least:
                raise ValueError(f"expected RIFFUSION_{field.name.upper()} of at least {least}, got {value}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Config:
        """Read the variables; an empty one counts as not set. ValueError names the variable that is no number."""
        environment = os.environ if environment is None else environment
        values: dict[str, str | int | float] = {}
        for field in fields(cls):
            name = f"RIFFUSION_{field.name.upper()}"
            text = environment.get(name, "").strip()
            if not text:
                continue
            kind = {"int": int, "float": float}.get(str(field.type), str)
            try:
                values[field.name] = kind(text)
            except ValueError as error:
                raise ValueError(f"expected a number in {name}, got {text!r}") from error
        return cls(**values)
