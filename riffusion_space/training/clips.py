"""A folder of music as training clips: audio with captions, cut, analysed and encoded once.

The captions come from Hugging Face's audiofolder layout (https://huggingface.co/docs/datasets/audio_dataset): a
``metadata.csv`` or ``metadata.jsonl`` with ``file_name`` and ``text`` (or ``caption``); else from a ``.txt`` beside
the audio file; else from the file's name. What cannot be used is named in a report and left out. Time is never
flipped: an echo before its sound is not music.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from riffusion_space.audio import Waveform, read_audio
from riffusion_space.checkpoints import Checkpoint
from riffusion_space.codec import amplitudes_to_pixels
from riffusion_space.latents import Grid, encode_pixels
from riffusion_space.mel import mel_amplitudes
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
_CACHE_FORMAT = 1  # part of every key: raised when the analysis below changes


@dataclass(frozen=True)
class Source:
    """An audio file and what it is called; ``name`` is its path in the folder, with forward slashes."""

    path: Path
    name: str
    caption: str


@dataclass
class Report:
    """What became of a folder: ``skipped`` holds (file, reason) of what was left out, ``lines()`` says it all."""

    files: int = 0
    clips: int = 0
    silent: int = 0
    repeated: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def skip(self, name: str, reason: str) -> None:
        self.skipped.append((name, reason))

    def lines(self) -> list[str]:
        """The report for people, one sentence a line."""
        lines = [f"{self.clips} clips of {CLIP_SECONDS:.2f} s from {self.files} files."]
        if self.silent:
            lines.append(f"Left out {self.silent} silent clips (below {SILENT_DB:g} dB).")
        if self.repeated:
            lines.append(f"Left out {self.repeated} clips that sound exactly like another one.")
        return lines + [f"Skipped {name}: {reason}." for name, reason in self.skipped]


@dataclass(frozen=True, eq=False)
class ClipSet:
    """Clips ready to train on.

    ``latents`` float16 (clips, channels, rows, columns); ``captions`` and ``files`` (the source's name) one a clip.
    """

    latents: torch.Tensor
    captions: list[str]
    files: list[str]
    report: Report

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that tell this set of latents and captions from others."""
        digest = hashlib.sha256(self.latents.numpy().tobytes())
        digest.update(json.dumps([self.captions, self.files]).encode())
        return digest.hexdigest()[:16]


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


def find_sources(folder: Path, report: Report, caption: str | None = None) -> list[Source]:
    """The audio files of a folder and of those in it, sorted, each with its caption.

    Args:
        folder: hidden files and folders in it are passed over.
        report: takes the files without a caption, and captions of files that are not there.
        caption: one caption for all, whatever the files say.

    Raises:
        ValueError: there is no such folder, or its metadata file cannot be read.
    """
    if not folder.is_dir():
        raise ValueError(f"expected a folder of audio files, but there is no folder {str(folder)!r}")
    paths = sorted(path for path in folder.rglob("*") if path.is_file()
                   and not any(part.startswith(".") for part in path.relative_to(folder).parts))
    audio = {path.relative_to(folder).as_posix(): path for path in paths if path.suffix.lower() in AUDIO_SUFFIXES}
    described = _read_metadata(folder, report)
    for name in described.keys() - audio.keys():
        report.skip(name, "the metadata describes it, but there is no such audio file")
    stems = {path.with_suffix("") for path in audio.values()}
    for path in paths:
        if path.suffix.lower() == ".txt" and path.with_suffix("") not in stems:
            report.skip(path.relative_to(folder).as_posix(), "a caption without an audio file of that name")
    sources = []
    for name, path in audio.items():
        sidecar = path.with_suffix(".txt")
        words = caption if caption is not None else described.get(name)
        if words is None and sidecar.is_file():
            words = sidecar.read_text(encoding="utf-8-sig", errors="replace")
        words = " ".join((caption_from_name(path.stem) if words is None else words).split())
        if words:
            sources.append(Source(path, name, words))
        else:
            report.skip(name, NO_CAPTION)
    return sources


def _read_metadata(folder: Path, report: Report) -> dict[str, str]:
    """Captions by file name from the folder's metadata file; empty without one."""
    captions: dict[str, str] = {}
    for path in (folder / name for name in METADATA_FILES):
        if not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8-sig")
            rows = list(csv.DictReader(text.splitlines())) if path.suffix == ".csv" else [
                json.loads(line) for line in text.splitlines() if line.strip()]
        except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
            raise ValueError(f"expected {path.name} in UTF-8 with one entry a line, got one that cannot be read: "
                             f"{error}") from error
        for number, row in enumerate(rows, 1):
            if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
                raise ValueError(f"expected a file_name in every entry of {path.name}, got none in entry {number}")
            words = next((row[column] for column in CAPTION_COLUMNS if isinstance(row.get(column), str)), None)
            if words is None:
                raise ValueError(f"expected a column text or caption in {path.name}, got none in entry {number}")
            name = row["file_name"].removeprefix("./")
            if name in captions:
                report.skip(name, f"{path.name} describes it twice: the first caption holds")
            captions.setdefault(name, words)
    return captions


def cut(wave: Waveform, stereo: str = "mix", beat_aligned: bool = False) -> list[np.ndarray]:
    """Whole clips of 5.11 s, float32 (n,) at 44.1 kHz, one after the other; what is left at the end is dropped.

    ``stereo`` "mix" takes the mean of the channels, "each" makes every channel a clip of its own. With
    ``beat_aligned`` each clip begins on a beat, the next one after the end of the clip before; a sound without a beat
    is cut as ever.
    """
    beats = []
    if beat_aligned:
        heard = wave.to_mono().resampled(_BEAT_RATE)
        found = beats_of(heard.samples[0], _BEAT_RATE)
        beats = [round(_attack_near(beat, heard.samples[0]) * PARAMS.sample_rate) for beat in found]
    wave = wave.to_mono() if stereo == "mix" else wave
    wave = wave.resampled(PARAMS.sample_rate)
    starts = list(range(0, wave.num_samples - CLIP_SAMPLES + 1, CLIP_SAMPLES))
    if beats:
        starts = []
        for beat in beats:
            if beat >= (starts[-1] + CLIP_SAMPLES if starts else 0) and beat + CLIP_SAMPLES <= wave.num_samples:
                starts.append(beat)
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
               beat_aligned: bool = False) -> ClipSet:
    """All clips of a folder, encoded by the checkpoint's autoencoder.

    Args:
        cache: folder for the latents: a file whose content was encoded before, by the same autoencoder and with the
            same ``stereo`` and ``beat_aligned``, is not read again, whatever its name and caption.
        stereo: "mix" (left and right to one clip) or "each" (one clip for each channel).
        caption: one caption for every clip.
        progress: called with the fraction of the files that is done, and a text.
        beat_aligned: clips begin on a beat.

    Raises:
        ValueError: there is no such folder, or it holds fewer than two different clips; says why.
    """
    if stereo not in STEREO_MODES:
        raise ValueError(f"expected stereo to be one of {', '.join(STEREO_MODES)}, got {stereo!r}")
    report = Report()
    sources = find_sources(folder, report, caption)
    cache = cache / vae_hash(checkpoint)
    cache.mkdir(parents=True, exist_ok=True)
    latents, captions, files = [], [], []
    for source, clips in _encode_files(sources, checkpoint, cache, stereo, beat_aligned, report, progress):
        latents += clips
        captions += [source.caption] * len(clips)
        files += [source.name] * len(clips)
    report.clips, report.files = len(captions), len(set(files))
    if len(captions) < 2:
        reasons = "".join(f"; {name}: {reason}" for name, reason in report.skipped[:3])
        silent = f"; {report.silent} are silent" if report.silent else ""
        raise ValueError(f"expected at least 2 different clips of {CLIP_SECONDS:.2f} s in {str(folder)!r}, "
                         f"got {len(captions)}{silent}{reasons}")
    return ClipSet(torch.from_numpy(np.stack(latents)), captions, files, report)


def _encode_files(sources: list[Source], checkpoint: Checkpoint, cache: Path, stereo: str, beat_aligned: bool,
                  report: Report, progress: Callable[[float, str], None]) -> Iterator[tuple[Source, list[np.ndarray]]]:
    """Each source that can be used with its clips' latents, those heard before left out."""
    contents: dict[str, str] = {}
    heard: set[str] = set()
    for number, source in enumerate(sources):
        progress(number / len(sources), f"Encoding {source.name}")
        content = _content_hash(source.path)
        if content in contents:
            report.skip(source.name, f"the same file as {contents[content]}")
            continue
        contents[content] = source.name
        try:
            way = f"{stereo}-beats" if beat_aligned else stereo
            latents, sounds, silent = _encode_file(source.path, cache / f"{content}-{way}-{_CACHE_FORMAT}.npz",
                                                   checkpoint, stereo, beat_aligned)
        except ValueError as error:
            report.skip(source.name, str(error))
            continue
        fresh = []
        for clip, sound in zip(latents, sounds):
            if sound in heard:
                report.repeated += 1
            else:
                heard.add(sound)
                fresh.append(clip)
        report.silent += silent
        if fresh:
            yield source, fresh
        else:
            report.skip(source.name, "every clip of it is that of another file" if len(sounds) else "it is silent")
    progress(1.0, "Encoded the clips")


def _content_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:32]


def _encode_file(path: Path, cached: Path, checkpoint: Checkpoint, stereo: str,
                 beat_aligned: bool) -> tuple[np.ndarray, list[str], int]:
    """Latents, float16 (clips, channels, rows, columns), a hash of each clip's sound, and how many were silent."""
    if cached.is_file():
        try:
            with np.load(cached) as entry:
                return entry["latents"], list(entry["sounds"]), int(entry["silent"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            cached.unlink()  # damaged, perhaps by a full disk: it is made again
    wave = read_audio(path)
    clips = cut(wave, stereo, beat_aligned)
    if not clips:
        raise ValueError(f"expected at least {CLIP_SECONDS:.2f} s of sound, got {wave.duration_s:.2f} s")
    loud = [clip for clip in clips if np.sqrt(np.mean(np.square(clip, dtype=np.float64))) > 10 ** (SILENT_DB / 20)]
    grid = Grid.of(checkpoint, PARAMS.num_frequencies)
    latents = np.zeros((len(loud), grid.channels, grid.rows, grid.width(CLIP_COLUMNS)), np.float16)
    sounds = []
    for index, clip in enumerate(loud):
        pixels = analyse(clip)
        sounds.append(hashlib.sha256(pixels.numpy().tobytes()).hexdigest()[:16])
        latents[index] = encode_pixels(pixels[None], checkpoint, grid)[0].cpu().numpy()
    if not np.isfinite(latents).all():
        raise ValueError("the autoencoder's latents of it are beyond what float16 holds")
    partial = cached.with_suffix(f".{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, latents=latents, sounds=np.array(sounds, "U16"), silent=len(clips) - len(loud))
        os.replace(partial, cached)
    finally:
        partial.unlink(missing_ok=True)
    return latents, sounds, len(clips) - len(loud)


def analyse(clip: np.ndarray) -> torch.Tensor:
    """Pixels, uint8 (bands, columns), of float32 samples (n,) at 44.1 kHz, scaled to the clip's own maximum."""
    mel = mel_amplitudes(torch.from_numpy(clip[None].copy()), PARAMS)[0]
    return amplitudes_to_pixels(mel, float(mel.max()), PARAMS)[:, :CLIP_COLUMNS]
