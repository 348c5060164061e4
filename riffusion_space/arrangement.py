"""A piece of sections: what each plays, how it is reached from the one before, and when.

All sections are on one grid of beats. Every moment has a place in the order of the sections: 0 all through the first, 1
through the second, and in between where one gives way to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from riffusion_space.tempo import bar_s

NAMES = ("intro", "verse", "build", "drop", "outro")  # what the page offers; any other will do
TRANSITIONS = ("cut", "crossfade", "interpolate")
DEFAULT_BPM = 120.0
WHOLE_PIECE = ("bpm", "key", "negative_prompt", "seed", "steps", "guidance", "scheduler", "steadiness")
MAX_SECTIONS = 32
MAX_SECTION_BARS = 64
MAX_NAME_LENGTH = 40

# Words that captions of this field have for it, and how loud it is in dB.
_ENERGIES = {
    "very low": ("calm soft", -9.0),
    "low": ("calm", -5.0),
    "medium": ("", -2.5),
    "high": ("energetic", -1.0),
    "very high": ("powerful energetic", 0.0),
}
ENERGIES = tuple(_ENERGIES)

_BETWEEN_S = 1.28  # from one prompt to the next where a transition interpolates


@dataclass(frozen=True)
class Section:
    """A part of a piece.

    Attributes:
        name: intro, verse, build, drop, outro, or one's own.
        bars: of four beats, 1 to 64.
        prompt: what it plays; empty leaves it open.
        energy: very low, low, medium, high or very high; told to the checkpoint in words, and heard in the level.
        transition: into it, from the section before: ``cut`` on the bar, ``crossfade`` over the bar around it,
            ``interpolate`` through its first half.
        seed: of its own; None takes the piece's, so that sections of one prompt play the same.
    """

    name: str = "verse"
    bars: int = 4
    prompt: str = ""
    energy: str = "medium"
    transition: str = "crossfade"
    seed: int | None = None

    @property
    def words(self) -> str:
        """The prompt, with its energy.

        >>> Section(prompt="techno", energy="high").words, Section(prompt="energetic rock", energy="high").words
        ('energetic techno', 'energetic rock')
        """
        said = self.prompt.lower().split()
        mood = " ".join(word for word in _ENERGIES[self.energy][0].split() if word not in said)
        return f"{mood} {self.prompt.strip()}".strip()

    @property
    def level_db(self) -> float:
        return _ENERGIES[self.energy][1]


def as_sections(value: Any) -> tuple[Section, ...]:
    """Sections out of JSON or YAML: a list of objects with the fields of :class:`Section`, or of such themselves.

    Raises:
        ValueError: the list is empty or too long, or one is not as :class:`Section` says; prompts and numbers are not
            looked at.
    """
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not 1 <= len(value) <= MAX_SECTIONS:
        raise ValueError(f"expected sections to be a list of 1 to {MAX_SECTIONS}, got "
                         f"{f'{len(value)}' if isinstance(value, (list, tuple)) else repr(value)}")
    return tuple(_section(item, number) for number, item in enumerate(value, 1))


def _section(item: Any, number: int) -> Section:
    names = [field.name for field in fields(Section)]
    if isinstance(item, Section):
        item = asdict(item)
    if not isinstance(item, Mapping):
        raise ValueError(f"expected section {number} to be an object with {', '.join(names)}, got {item!r}")
    if unknown := [key for key in item if key not in names]:
        raise ValueError(f"expected section {number} to have none but {', '.join(names)}, got {unknown[0]!r}")
    section = Section(**item)
    if not isinstance(section.name, str) or not section.name.strip() or len(section.name) > MAX_NAME_LENGTH:
        raise ValueError(f"expected section {number} to have a name of 1 to {MAX_NAME_LENGTH} characters, "
                         f"got {section.name!r}")
    for name, choices in (("energy", ENERGIES), ("transition", TRANSITIONS)):
        if getattr(section, name) not in choices:
            raise ValueError(f"expected {name} of section {number} out of {', '.join(choices)}, "
                             f"got {getattr(section, name)!r}")
    return section


def as_settings(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """Sections as JSON: what :func:`as_sections` takes."""
    return [{name: value for name, value in asdict(section).items() if value is not None} for section in sections]


def read_piece(path: str | Path) -> dict[str, Any]:
    """A YAML file with sections and, beside them, what holds for the whole piece: arguments of ``arrange``.

    Raises:
        ValueError: it cannot be read, is not YAML, or holds something else; sections are not looked at.
    """
    name = Path(path).name
    if not Path(path).is_file():
        raise ValueError(f"expected a YAML file of sections, but there is no {name!r}")
    try:
        piece = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"expected a YAML file of sections, but {name!r} is not YAML: "
                         f"{' '.join(str(error).split())}") from error
    if not isinstance(piece, dict) or "sections" not in piece:
        raise ValueError(f"expected {name!r} to hold sections, and beside them {', '.join(WHOLE_PIECE)}")
    if unknown := [key for key in piece if key not in ("sections", *WHOLE_PIECE)]:
        raise ValueError(f"expected {name!r} to hold sections and {', '.join(WHOLE_PIECE)}, got {unknown[0]!r}")
    return piece


def length_s(sections: Sequence[Section], bpm: float) -> float:
    """Seconds of the whole piece."""
    return sum(section.bars for section in sections) * bar_s(bpm)


@dataclass(frozen=True)
class Arrangement:
    """Sections on a clock."""

    sections: tuple[Section, ...]
    bpm: float

    @property
    def edges(self) -> list[float]:
        """Seconds at which sections begin, and at which the last one ends."""
        return [bars * bar_s(self.bpm) for bars in accumulate((section.bars for section in self.sections), initial=0)]

    def samples(self, rate: int) -> list[int]:
        """:attr:`edges` in samples."""
        return [round(edge * rate) for edge in self.edges]

    def with_seed(self, number: int, seed: int) -> Arrangement:
        """The same with another seed for the section of that index."""
        sections = list(self.sections)
        sections[number] = replace(sections[number], seed=seed)
        return replace(self, sections=tuple(sections))

    def place(self, seconds: np.ndarray) -> np.ndarray:
        """Where in the order of the sections each moment is: 1.5 is half way from the second to the third."""
        times, places = [0.0], [0.0]
        for number, (before, section) in enumerate(pairwise(self.sections), 1):
            edge, bar = self.edges[number], bar_s(self.bpm)
            if section.transition == "interpolate":
                ramp = (edge, edge + section.bars * bar / 2)
            else:
                half = min(before.bars, section.bars, 1) * bar / 2 if section.transition == "crossfade" else 1e-6
                ramp = (edge - half, edge + half)
            times += ramp
            places += (number - 1.0, float(number))
        return np.interp(seconds, times, places)

    @property
    def stops(self) -> list[float]:
        """The places that have prompts of their own: every section, and some between where prompts interpolate."""
        stops = [0.0]
        for number, section in enumerate(self.sections[1:], 1):
            steps = 1
            if section.transition == "interpolate":
                steps = min(8, max(2, round(section.bars * bar_s(self.bpm) / 2 / _BETWEEN_S)))
            stops += [number - 1 + step / steps for step in range(1, steps + 1)]
        return stops
