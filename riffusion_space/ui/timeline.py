"""Sections to add, remove, reorder and edit, as coloured blocks whose widths are their bars.

The browser's half is timeline.html, timeline.css and timeline.js.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from riffusion_space.arrangement import DEFAULT_BPM, ENERGIES, MAX_SECTIONS, NAMES, TRANSITIONS, read_piece
from riffusion_space.ui.scripted import SELECT, scripted

# Those of the spectrogram: the more is going on, the brighter.
_COLOURS = {"intro": "#7a1f4b", "verse": "#c8452f", "build": "#dd7a34", "drop": "#eba53a", "outro": "#5b2a6b",
            "chorus": "#d98c4b", "bridge": "#9a4d7c", "other": "#8c7f66"}


def timeline(pieces: Sequence[Path]) -> gr.HTML:
    """A place for sections. Its value is ``{sections, chosen, bpm}``: those as JSON, the index of the one that is
    edited, and the tempo that they came with. The page tells another one by ``window.riffusionTimeline.tempo(bpm)``.

    ``select`` tells that one of the ready-made ``pieces`` was chosen, with its bpm; ``retry`` that the section of the
    number ``anew`` is to be made anew. The sections of the first piece are there at first, at the usual tempo.
    """
    presets = [{"title": path.stem.replace("-", " "), **_facts(read_piece(path))} for path in pieces]
    facts = {"presets": presets, "names": NAMES, "energies": ENERGIES, "transitions": TRANSITIONS,
             "colours": _COLOURS, "most": MAX_SECTIONS}
    return scripted(__file__, facts, {"sections": presets[0]["sections"], "bpm": DEFAULT_BPM, "chosen": 0},
                    shared=[SELECT])


def _facts(piece: dict[str, Any]) -> dict[str, Any]:
    return {"sections": piece["sections"], "bpm": piece.get("bpm", DEFAULT_BPM)}
