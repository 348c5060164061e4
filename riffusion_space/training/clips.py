"""A folder of music as training clips: audio with captions, cut, analysed and encoded once.

The captions come from Hugging Face's audiofolder layout (https://huggingface.co/docs/datasets/audio_dataset): a
``metadata.csv`` or ``metadata.jsonl`` in any of the folders, with ``file_name`` and ``text`` (or ``caption``); else
from a ``.txt`` beside the audio file; else from the file's name. What cannot be used is named in a report and left
out. Time is never flipped: an echo before its sound is not music.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import posixpath
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from riffusion_space.audio import Waveform, read_audio
from riffusion_space.checkpoints import Checkpoint
from riffusion_space.codec import amplitudes_to_pixels
from riffusion_space.latents import Grid, encode_pixels
from riffusion_space.mel import mel_amplitudes
from riffusion_space.prompts import check_prompt, escape
from riffusion_space.spectrogram import CLIP_COLUMNS, SpectrogramParams
from riffusion_space.tempo import beats_of
from riffusion_space.training.options import STEREO_MODES

PARAMS = SpectrogramParams()
CLIP_SAMPLES = PARAMS.samples_for_columns(CLIP_COLUMNS)
CLIP_SECONDS = CLIP_SAMPLES / PARAMS.sample_rate
SILENT_DB = -60.0  # of full scale, RMS: below it a clip is room noise, which scaling to full darkness would magnify
METADATA_FILES = ("metadata.csv", "metadata.jsonl")
CAPTION_COLUMNS = ("text", "caption")
AUDIO_SUFFIXES = frozenset(
    ".aac .aif .aiff .amr .ape .au .caf .flac .m4a .mka .mp2 .mp3 .mp4 .oga .ogg .opus .tta .wav .webm .wma .wv".split()
)
NO_CAPTION = ("no caption: name it in the file's name, in a .txt beside it or in metadata.csv, "
              "or let --propose-captions write one")
_BEAT_RATE = 22050  # enough to find beats
_SNAP_S = 0.08
_CACHE_FORMAT = 2  # part of every key: raised when the analysis below changes


@dataclass(frozen=True)
class Source:
    """An audio file and what it is called; ``name`` is its path in the folder, with forward slashes.

    ``described`` tells that a metadata file says so.
    """

    path: Path
    name: str
    caption: str
    described: bool = False


@dataclass
class Report:
    """What became of a folder: ``skipped`` holds (file, reason) of what was left out, ``notes`` sentences on what was
    not, ``lines()`` says it all.
    """

    files: int = 0
    clips: int = 0
    silent: int = 0
    repeated: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def skip(self, name: str, reason: str) -> None:
        self.skipped.append((name, reason))

    def lines(self) -> list[str]:
        """The report for people, one sentence a line."""
        lines = [f"{self.clips} clips of {CLIP_SECONDS:.2f} s from {self.files} files."]
        if self.silent:
            lines.append(f"Left out {self.silent} silent clips (below {SILENT_DB:g} dB).")
        if self.repeated:
            lines.append(f"Left out {self.repeated} clips that sound exactly like another one.")
        return lines + self.notes + [f"Skipped {name}: {reason}." for name, reason in self.skipped]


@dataclass(frozen=True, eq=False)
class ClipSet:
    """Clips ready to train on.

    ``latents`` float16 (clips, channels, rows, columns). One a clip: ``captions``, ``files`` (the source's name),
    ``moments`` (the number of its time in the file, which left and right share) and ``sounds`` (a hash).
    ``autoencoder`` tells it from others.
    """

    latents: torch.Tensor
    captions: list[str]
    files: list[str]
    moments: list[int]
    sounds: list[str]
    autoencoder: str
    report: Report

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that tell this set of clips from others, on whatever device they were encoded."""
        content = [self.sounds, self.captions, self.files, self.moments, self.autoencoder]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def caption_from_name(stem: str) -> str:
    """The caption in a file name without its suffix: separators become spaces, a take's or track's number goes.

    >>> caption_from_name("slow_sad-violin 03"), caption_from_name("02 - Church Bells (2)")
    ('slow sad violin', 'Church Bells')
    >>> caption_from_name("120 bpm techno"), caption_from_name("001")
    ('120 bpm techno', '')
    """
    words = re.sub(r"[\s_-]+", " ", re.sub(r"^\d{1,3}\s*[-.)]+\s+|^0\d+[\s_-]+", "", stem)).strip()
    words = re.sub(r"(?:^|\s+)(?:\(\d+\)|\[\d+\]|\d+)$", "", words)
    return words.strip()


def find_sources(folder: Path, report: Report, caption: str | None = None,
                 passed_over: Sequence[Path] = ()) -> list[Source]:
    """The audio files of a folder and of those in it, sorted, each with its caption.

    Args:
        folder: hidden files and folders in it are passed over.
        report: takes the files without a caption that can be used, and captions of files that are not there.
        caption: one caption for all, whatever the files say.
        passed_over: folders that do not count where they lie in ``folder``, such as the one that a run writes to.

    Raises:
        ValueError: there is no such folder, one of its metadata files cannot be read, or it is one of those to pass
            over.
    """
    if not folder.is_dir():
        raise ValueError(f"expected a folder of audio files, but there is no folder {str(folder)!r}")
    paths = _files(folder, passed_over)
    audio = {path.relative_to(folder).as_posix(): path for path in paths if path.suffix.lower() in AUDIO_SUFFIXES}
    described = _read_metadata(folder, [path for path in paths if path.name in METADATA_FILES], report)
    for name in sorted(described.keys() - audio.keys()):
        report.skip(name, "the metadata describes it, but there is no such audio file")
    stems = {path.with_suffix("") for path in audio.values()}
    for path in paths:
        if path.suffix.lower() == ".txt" and path.with_suffix("") not in stems:
            report.skip(path.relative_to(folder).as_posix(), "a caption without an audio file of that name")
    sources = []
    for name, path in audio.items():
        try:
            words = caption if caption is not None else described.get(name)
            words = " ".join((_own_caption(path) if words is None else words).split())
            check_prompt("a caption", escape(words))
        except ValueError as error:
            report.skip(name, str(error))
            continue
        if words:
            sources.append(Source(path, name, words, name in described))
        else:
            report.skip(name, NO_CAPTION)
    return sources


def _files(folder: Path, passed_over: Sequence[Path]) -> list[Path]:
    """The files of a folder and of those in it, sorted, without those that are hidden or to be passed over."""
    root = folder.resolve()
    beside = [path.resolve() for path in passed_over]
    if root in beside:
        raise ValueError(f"expected what is written to go to another folder than the music's, got {str(folder)!r}")
    # Music that lies in such a folder itself is meant all the same: so do fetched datasets.
    beside = [path for path in beside if path.is_relative_to(root)]
    found = []
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inner.parts)
        if path.is_file() and not hidden and not any((root / inner).is_relative_to(other) for other in beside):
            found.append(path)
    return found


def _own_caption(path: Path) -> str:
    """The caption beside an audio file, or else in its name. Raises ValueError for one that cannot be read."""
    sidecar = path.with_suffix(".txt")
    if not sidecar.is_file():
        return caption_from_name(path.stem)
    try:
        return sidecar.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"expected its caption {sidecar.name} in UTF-8") from error
    except OSError as error:
        raise ValueError(f"its caption {sidecar.name} cannot be read: {error.strerror or error}") from error


def _read_metadata(folder: Path, paths: list[Path], report: Report) -> dict[str, str]:
    """Captions by file name from a folder's metadata files, whose names are relative to where each of them lies.

    Of two captions that are not empty, the one that is nearer to its audio file holds.
    """
    captions: dict[str, str] = {}
    for path in sorted(paths, key=lambda path: (-len(path.parts), path.parent, METADATA_FILES.index(path.name))):
        inner = path.parent.relative_to(folder).as_posix()
        named = path.relative_to(folder).as_posix()
        seen = set()
        for number, row in enumerate(read_entries(path), 1):
            words = next((row[column] for column in CAPTION_COLUMNS if isinstance(row.get(column), str)), None)
            if words is None:
                raise ValueError(f"expected a column text or caption in {named}, got none in entry {number}")
            name = posixpath.normpath(posixpath.join(inner, row["file_name"]))
            if name in seen:
                report.notes.append(f"{named} describes {name} twice: the first caption holds.")
            elif not captions.get(name, "").strip():
                captions[name] = words
            seen.add(name)
    return captions


def read_entries(path: Path) -> list[dict[str, Any]]:
    """The entries of a metadata file in their order, each with a ``file_name``, and of a CSV all of its columns.

    Raises:
        ValueError: it is not in UTF-8, or an entry is none; one sentence.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows: list[Any] = list(csv.DictReader(io.StringIO(text, newline=""))) if path.suffix == ".csv" else [
            json.loads(line) for line in text.split("\n") if line.strip()]
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise ValueError(f"expected {path.name} in UTF-8 with one entry a line, got one that cannot be read: "
                         f"{error}") from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
            raise ValueError(f"expected a file_name in every entry of {path.name}, got none in entry {number}")
        if None in row:  # where DictReader puts what is left over
            raise ValueError(f"expected {len(row) - 1} cells in every entry of {path.name}, got more in entry {number} "
                             f"({row['file_name']}): a caption with commas goes into double quotes")
    return rows


def cut(wave: Waveform, stereo: str = "mix", beat_aligned: bool = False) -> list[np.ndarray]:
    """Whole clips of 5.11 s, float32 (n,) at 44.1 kHz, one after the other; what is left at the end is dropped.

    ``stereo`` "mix" takes the mean of the channels, "each" makes every channel a clip of its own. With
    ``beat_aligned`` each clip begins on a beat, the next one after the end of the clip before; a sound without a beat,
    or with no beat that a whole clip follows, is cut as ever.
    """
    beats = []
    if beat_aligned:
        heard = wave.to_mono().resampled(_BEAT_RATE)
        found = beats_of(heard.samples[0], _BEAT_RATE)
        beats = [round(_attack_near(beat, heard.samples[0]) * PARAMS.sample_rate) for beat in found]
    wave = wave.to_mono() if stereo == "mix" else wave
    wave = wave.resampled(PARAMS.sample_rate)
    starts: list[int] = []
    for beat in beats:
        if beat >= (starts[-1] + CLIP_SAMPLES if starts else 0) and beat + CLIP_SAMPLES <= wave.num_samples:
            starts.append(beat)
    starts = starts or list(range(0, wave.num_samples - CLIP_SAMPLES + 1, CLIP_SAMPLES))
    return [channel[start : start + CLIP_SAMPLES] for start in starts for channel in wave.samples]


def _attack_near(beat: float, samples: np.ndarray) -> float:
    """Where the sound (n,) at ``_BEAT_RATE`` rises most within 80 ms of a beat, in seconds: trackers are not exact."""
    block = _BEAT_RATE // 200  # 5 ms
    first = max(0, round((beat - _SNAP_S) * _BEAT_RATE))
    around = samples[first : round((beat + _SNAP_S) * _BEAT_RATE)]
    energy = np.square(around[: len(around) // block * block]).reshape(-1, block).sum(1)
    rise = np.diff(energy)
    return beat if not len(rise) or rise.max() <= 0 else (first + (int(rise.argmax()) + 1) * block) / _BEAT_RATE


def vae_hash(checkpoint: Checkpoint) -> str:
    """16 hexadecimal digits that tell a checkpoint's autoencoder from others."""
    digest = hashlib.sha256()
    for name, value in sorted(checkpoint.vae.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def load_clips(folder: Path, checkpoint: Checkpoint, cache: Path, stereo: str = "mix", caption: str | None = None,
               progress: Callable[[float, str], None] = lambda fraction, text: None,
               beat_aligned: bool = False, passed_over: Sequence[Path] = ()) -> ClipSet:
    """All clips of a folder, encoded by the checkpoint's autoencoder.

    Args:
        checkpoint: in float32, so that the same clips have the same latents whatever is computed with later.
        cache: folder for the latents: a file whose content was encoded before, by the same autoencoder and with the
            same ``stereo`` and ``beat_aligned``, is not read again, whatever its name and caption.
        stereo: "mix" (left and right to one clip) or "each" (one clip for each channel).
        caption: one caption for every clip.
        progress: called with the fraction of the files that is done, and a text.
        beat_aligned: clips begin on a beat.
        passed_over: folders that do not count where they lie in ``folder``; ``cache`` never does.

    Raises:
        ValueError: there is no such folder, or it holds fewer than two different clips; says why.
    """
    if stereo not in STEREO_MODES:
        raise ValueError(f"expected stereo to be one of {', '.join(STEREO_MODES)}, got {stereo!r}")
    report = Report()
    if checkpoint.vae.dtype != torch.float32:
        raise ValueError(f"expected the autoencoder to encode in float32, got {checkpoint.vae.dtype}")
    sources = find_sources(folder, report, caption, [cache, *passed_over])
    autoencoder = vae_hash(checkpoint)
    cache = cache / autoencoder
    cache.mkdir(parents=True, exist_ok=True)
    encoded = [(source, clip) for source, clips in _encode_files(
        sources, checkpoint, cache, stereo, beat_aligned, report, progress) for clip in clips]
    files = [source.name for source, _ in encoded]
    report.clips, report.files = len(encoded), len(set(files))
    if len(encoded) < 2:
        reasons = "".join(f"; {name}: {reason}" for name, reason in report.skipped[:3])
        silent = f"; {report.silent} are silent" if report.silent else ""
        raise ValueError(f"expected at least 2 different clips of {CLIP_SECONDS:.2f} s in {str(folder)!r}, "
                         f"got {len(encoded)}{silent}{reasons}")
    return ClipSet(torch.from_numpy(np.stack([clip.latents for _, clip in encoded])),
                   [source.caption for source, _ in encoded], files, [clip.moment for _, clip in encoded],
                   [clip.sound for _, clip in encoded], autoencoder, report)


@dataclass(frozen=True, eq=False)
class _Clip:
    """Latents float16 (channels, rows, columns), the number of its time in its file, and a hash of its sound."""

    latents: np.ndarray
    moment: int
    sound: str


def _encode_files(sources: list[Source], checkpoint: Checkpoint, cache: Path, stereo: str, beat_aligned: bool,
                  report: Report, progress: Callable[[float, str], None]) -> Iterator[tuple[Source, list[_Clip]]]:
    """Each source that can be used with its clips, those heard before left out."""
    contents: dict[str, str] = {}
    heard: set[str] = set()
    grid = Grid.of(checkpoint, PARAMS.num_frequencies)
    way = f"{stereo}-beats" if beat_aligned else stereo
    # All that the latents follow from, beside the file and the autoencoder's weights.
    key = f"{way}-{grid.window}-{checkpoint.vae.config.scaling_factor}-{_CACHE_FORMAT}"
    for number, source in enumerate(sources):
        progress(number / len(sources), f"Encoding {source.name}")
        try:
            content = _content_hash(source.path)
            if content in contents:
                report.skip(source.name, f"the same file as {contents[content]}")
                continue
            contents[content] = source.name
            clips, silent = _encode_file(source.path, cache / f"{content}-{key}.npz", checkpoint, grid, stereo,
                                         beat_aligned)
        except ValueError as error:
            report.skip(source.name, str(error))
            continue
        fresh = []
        for clip in clips:
            if clip.sound in heard:
                report.repeated += 1
            else:
                heard.add(clip.sound)
                fresh.append(clip)
        report.silent += silent
        if fresh:
            yield source, fresh
        else:
            report.skip(source.name, "every clip of it is that of another file" if clips else "it is silent")
    progress(1.0, "Encoded the clips")


def _content_hash(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()[:32]


def _encode_file(path: Path, cached: Path, checkpoint: Checkpoint, grid: Grid, stereo: str,
                 beat_aligned: bool) -> tuple[list[_Clip], int]:
    """The clips of a file that are not silent, and how many are. Raises ValueError for a file without any."""
    if cached.is_file():
        try:
            with np.load(cached) as entry:
                clips = [_Clip(latents, int(moment), str(sound)) for latents, moment, sound in zip(
                    entry["latents"], entry["moments"], entry["sounds"])]
                return clips, int(entry["silent"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            cached.unlink()  # damaged, perhaps by a full disk: it is made again
    try:
        wave = read_audio(path)
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror or error}") from error
    sounds = cut(wave, stereo, beat_aligned)
    if not sounds:
        raise ValueError(f"expected at least {CLIP_SECONDS:.2f} s of sound, got {wave.duration_s:.2f} s")
    at_once = 1 if stereo == "mix" else len(wave.samples)  # clips of one moment
    clips = []
    for index, samples in enumerate(sounds):
        if np.sqrt(np.mean(np.square(samples, dtype=np.float64))) <= 10 ** (SILENT_DB / 20):
            continue
        pixels = analyse(samples)
        latents = encode_pixels(pixels[None], checkpoint, grid)[0].cpu().numpy().astype(np.float16)
        if not np.isfinite(latents).all():
            raise ValueError("the autoencoder's latents of it are beyond what float16 holds")
        clips.append(_Clip(latents, index // at_once, hashlib.sha256(pixels.numpy().tobytes()).hexdigest()[:16]))
    silent = len(sounds) - len(clips)
    partial = cached.with_suffix(f".{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, latents=np.array([clip.latents for clip in clips], np.float16),
                     moments=np.array([clip.moment for clip in clips], np.int64),
                     sounds=np.array([clip.sound for clip in clips], "U16"), silent=silent)
        os.replace(partial, cached)
    finally:
        partial.unlink(missing_ok=True)
    return clips, silent


def analyse(clip: np.ndarray) -> torch.Tensor:
    """Pixels, uint8 (bands, columns), of float32 samples (n,) at 44.1 kHz, scaled to the clip's own maximum."""
    mel = mel_amplitudes(torch.from_numpy(clip[None].copy()), PARAMS)[0]
    return amplitudes_to_pixels(mel, float(mel.max()), PARAMS)[:, :CLIP_COLUMNS]
