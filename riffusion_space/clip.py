"""What a request gives back: the sound, its spectrogram and the settings that make it again."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from riffusion_space.audio import SUFFIXES, Waveform, read_tags, write_audio, write_whole

SETTINGS_TAG = "riffusion_space"
TITLE_LENGTH = 60


@dataclass(frozen=True, eq=False)
class Clip:
    """A finished piece.

    ``image`` is the spectrogram that ``audio`` was decoded from, or where only parts of it were its analysis, with its
    parameters in EXIF. ``settings`` hold the task's arguments by name, the seed that was drawn, the checkpoint and its
    revision; they survive JSON.
    """

    audio: Waveform
    image: Image.Image
    settings: dict[str, Any]

    @property
    def title(self) -> str:
        """The prompts, shortened: 'church bells to jazz piano'."""
        return " to ".join(prompts_of(self.settings))[:TITLE_LENGTH] or "untitled"

    def file_name(self, suffix: str = ".wav") -> str:
        """A name that says what is inside and is safe on every file system: 'church-bells-text2audio-seed7.wav'."""
        ascii_title = unicodedata.normalize("NFKD", self.title).encode("ascii", "ignore").decode()
        words = re.sub(r"[^a-z0-9]+", "-", ascii_title.lower()).strip("-") or "clip"
        return f"{words}-{self.settings['task']}-seed{self.settings['seed']}{suffix}"

    def save(self, path: str | Path) -> Path:
        """Write the sound (.wav, .flac, .mp3, .ogg) or the spectrogram (.png), the settings inside.

        The file appears whole, or not at all. Returns the path. Raises ValueError for another suffix, or a folder that
        is not there.
        """
        path = Path(path)
        text = json.dumps(self.settings, ensure_ascii=False)
        if path.suffix.lower() == ".png":
            info = PngImagePlugin.PngInfo()
            info.add_itxt(SETTINGS_TAG, text)
            data = io.BytesIO()
            self.image.save(data, "PNG", exif=self.image.getexif(), pnginfo=info)
            return write_whole(path, data.getvalue())
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"expected a file name ending in {', '.join(SUFFIXES)} or .png, got {path.name!r}")
        return write_audio(self.audio, path, {"title": self.title, "comment": f"{SETTINGS_TAG}: {text}"})


def prompts_of(settings: Mapping[str, Any]) -> list[str]:
    """The prompts of a clip, each once, without those that are empty."""
    prompts = [str(settings.get(key) or "").strip() for key in ("prompt", "prompt_a", "prompt_b")]
    prompts += [section["prompt"].strip() for section in settings.get("sections", ())]
    return [text for text in dict.fromkeys(prompts) if text]


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings inside a file that :meth:`Clip.save` wrote. Raises ValueError when there are none."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"expected a file made here, but there is no {path.name!r}")
    if path.suffix.lower() == ".png":
        with Image.open(path) as image:
            text = getattr(image, "text", {}).get(SETTINGS_TAG)
    else:
        text = read_tags(path).get("comment", "")
        text = text.removeprefix(f"{SETTINGS_TAG}: ") if text.startswith(f"{SETTINGS_TAG}: ") else None
    if text is None:
        raise ValueError(f"expected a file made here, but {path.name} holds no settings")
    return json.loads(text)
