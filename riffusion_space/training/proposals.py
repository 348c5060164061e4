"""Captions for files that have none, out of what can be measured: written into the folder's metadata, to be edited."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from riffusion_space.audio import Waveform, read_audio
from riffusion_space.tempo import measure
from riffusion_space.training.clips import (
    CAPTION_COLUMNS,
    METADATA_FILES,
    NO_CAPTION,
    Report,
    find_sources,
    read_entries,
)

_HEARD_S = 30.0  # of a file
_RATE = 22050
# Half of the energy lies below: a double bass is at 200 Hz, a hi-hat at 6 kHz.
_DARK_HZ, _BRIGHT_HZ = 350.0, 1500.0
_PERCUSSIVE = 0.4  # of the amplitudes: of built-in loops, drums are above it, pitched instruments below
_BUSY = 6.0  # onsets a second


def describe(wave: Waveform) -> str:
    """What is measured of a sound, as a caption: brightness, attack, density, tempo and key.

    >>> describe(Waveform(np.zeros((1, 44100), np.float32), 44100))
    'silence'
    """
    import librosa

    if not wave.peak > 0:
        return "silence"
    mono = wave.sliced(0, min(wave.num_samples, round(_HEARD_S * wave.sample_rate))).to_mono().resampled(_RATE)
    samples = mono.samples[0]
    spectrum = np.abs(librosa.stft(samples))
    energy = np.cumsum((spectrum**2).sum(1))
    middle = librosa.fft_frequencies(sr=_RATE)[np.searchsorted(energy, energy[-1] / 2)]
    harmonic, percussive = librosa.decompose.hpss(spectrum)
    struck = float(percussive.sum() / (percussive.sum() + harmonic.sum()))
    onsets = len(librosa.onset.onset_detect(y=samples, sr=_RATE)) / mono.duration_s
    words = ["dark" if middle < _DARK_HZ else "bright" if middle > _BRIGHT_HZ else "",
             "busy" if onsets > _BUSY else "",
             "percussive" if struck > _PERCUSSIVE else "melodic", "music"]
    found = measure(mono)
    facts = [" ".join(filter(None, words))]
    facts += [f"{round(found.bpm)} bpm"] if found.bpm else []
    facts += [f"in {found.key}"] if found.key and struck <= _PERCUSSIVE else []
    return ", ".join(facts)


def propose_captions(folder: Path, progress: Callable[[float, str], None] = lambda fraction, text: None,
                     passed_over: Sequence[Path] = ()) -> tuple[Path | None, dict[str, str]]:
    """Write a caption for each audio file of a folder that has none into the folder's metadata file.

    What is there already stays, captions out of file names and sidecars included.

    Args:
        passed_over: as for :func:`find_sources`.

    Returns:
        The metadata file and the proposals by file name; None and nothing where no caption is missing.

    Raises:
        ValueError: there is no such folder, or its metadata file cannot be read.
        OSError: such as for a full disk. The metadata file stays as it was.
    """
    report = Report()
    sources = find_sources(folder, report, passed_over=passed_over)
    missing = [name for name, reason in report.skipped if reason == NO_CAPTION]
    proposals = {}
    for number, name in enumerate(missing):
        progress(number / len(missing), f"Listening to {name}")
        try:
            proposals[name] = describe(read_audio(folder / name))
        except (ValueError, OSError):
            continue  # training says why it cannot be read
    if not proposals:
        return None, {}
    path = next((folder / name for name in METADATA_FILES if (folder / name).is_file()), folder / METADATA_FILES[0])
    _write(path, {source.name: source.caption for source in sources if not source.described} | proposals)
    return path, proposals


def _write(path: Path, captions: dict[str, str]) -> None:
    """Put captions by file name into a metadata file, whose other columns and rows stay."""
    rows = read_entries(path) if path.is_file() else []
    column = next((name for name in CAPTION_COLUMNS if rows and name in rows[0]), CAPTION_COLUMNS[0])
    by_name = {row["file_name"].removeprefix("./"): row for row in reversed(rows)}
    for name, caption in captions.items():
        if name not in by_name:
            rows.append({"file_name": name, column: caption})
        elif not str(by_name[name].get(column) or "").strip():
            by_name[name][column] = caption
    partial = path.with_suffix(".partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            if path.suffix == ".csv":
                columns = list(dict.fromkeys(key for row in rows for key in row))
                writer = csv.DictWriter(file, columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
            else:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
