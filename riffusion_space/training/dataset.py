"""A dataset of the Hub as a folder of music, through the package ``datasets``, which only this needs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from riffusion_space.training.clips import AUDIO_SUFFIXES, CAPTION_COLUMNS, METADATA_FILES

_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


def is_dataset(name: str) -> bool:
    """Whether it could be the name of a dataset: ``owner/name``, perhaps with ``@revision``."""
    return _NAME.fullmatch(name) is not None


def find_music(music: Path, out: Path, progress: Callable[[float, str], None] = lambda fraction, text: None,
               tell: Callable[[str], None] = lambda line: None) -> Path:
    """The folder of music itself, or where there is none that of the Hub dataset of this name, fetched into ``out``.

    Raises ValueError, one sentence, where it is neither.
    """
    if music.is_dir():
        return music
    name = music.as_posix()
    if not is_dataset(name):
        raise ValueError(f"expected a folder of audio files, but there is no folder {name!r}")
    return fetch_dataset(name, out / "training" / "music" / quote(name, safe=""), progress, tell)


def fetch_dataset(name: str, folder: Path, progress: Callable[[float, str], None] = lambda fraction, text: None,
                  tell: Callable[[str], None] = lambda line: None) -> Path:
    """The folder with a dataset's audio files and their captions, after writing it unless that was done before.

    Taken are the split ``train``, or else the first, its column of audio, and of captions the column ``text`` or
    ``caption``, if there is one.

    Args:
        name: owner/name of the Hub, with an optional @revision, or whatever else ``load_dataset`` takes.
        folder: is made, and holds a copy of the files.
        tell: called with lines on rows that were skipped.

    Raises:
        ValueError: ``datasets`` is not installed, there is no such dataset, or it holds no audio; one sentence.
    """
    metadata = folder / METADATA_FILES[1]  # written last: a download that was broken off is made again
    if metadata.is_file():
        return folder
    rows, audio, caption = _load(name)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, row in enumerate(rows):
        progress(number / len(rows), f"Copying {name}")
        sound = row[audio] or {}
        path, content = sound.get("path") or "", sound.get("bytes")
        if not path and content is None:
            tell(f"Skipped row {number} of {name}: it has no audio.")
            continue
        suffix = Path(path).suffix.lower()
        file = folder / f"{number:06}{suffix if suffix in AUDIO_SUFFIXES else '.wav'}"
        file.write_bytes(Path(path).read_bytes() if content is None else content)
        # Without a caption there is none to propose over, and none out of the number in the file's name.
        lines.append(json.dumps({"file_name": file.name, CAPTION_COLUMNS[0]: str(row.get(caption) or "")}) + "\n")
    partial = metadata.with_suffix(".partial")
    try:
        partial.write_text("".join(lines), encoding="utf-8")
        os.replace(partial, metadata)
    finally:
        partial.unlink(missing_ok=True)
    return folder


def _load(name: str) -> tuple[Any, str, str | None]:
    """The rows of a dataset, and the names of its columns of audio and of captions."""
    try:
        import datasets
    except ImportError as error:
        raise ValueError("expected the package datasets to read one: pip install 'datasets[audio]'") from error
    from huggingface_hub.errors import HTTPError

    source, _, revision = name.partition("@") if is_dataset(name) else (name, "", "")
    try:
        splits = datasets.load_dataset(source, revision=revision or None)
    except (datasets.exceptions.DatasetsError, HTTPError, OSError, ValueError, ImportError) as error:
        # Of a folder of audio files, datasets reads each with torchcodec, which is in its extra "audio".
        raise ValueError(f"expected a folder or a dataset of the Hub, but {name!r} cannot be loaded: "
                         f"{str(error).partition(chr(10))[0]}") from error
    rows = splits["train"] if "train" in splits else next(iter(splits.values()))
    audio = next((column for column, kind in rows.features.items() if isinstance(kind, datasets.Audio)), None)
    if audio is None:
        raise ValueError(f"expected a column of audio in {name}, got {', '.join(rows.features)}")
    caption = next((column for column in CAPTION_COLUMNS if column in rows.features), None)
    return rows.cast_column(audio, datasets.Audio(decode=False)), audio, caption
