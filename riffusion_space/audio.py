"""Waveforms, and the files they come from and go to."""

from __future__ import annotations

import io
import math
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import soundfile as sf

from riffusion_space.ogg import retagged

_BLOCK = 1 << 16  # samples read or written at once

# Real media only: FFmpeg's playlist formats would follow paths and addresses inside an uploaded file.
_DEMUXERS = "aac,aiff,amr,ape,asf,au,avi,caf,flac,matroska,webm,mov,mp4,mp3,ogg,tta,w64,wav,wv"

# Without it FFmpeg writes random serial numbers and its version.
_REPRODUCIBLE = {"fflags": "+bitexact"}

# Gains to left and right of each loudspeaker, by FFmpeg's names (ITU-R BS.775; the subwoofer is left out).
_HALF = 0.5**0.5
_LOUDSPEAKERS = {
    "FL": (1, 0),
    "FR": (0, 1),
    "FC": (_HALF, _HALF),
    "LFE": (0, 0),
    "BL": (_HALF, 0),
    "BR": (0, _HALF),
    "SL": (_HALF, 0),
    "SR": (0, _HALF),
    "BC": (0.5, 0.5),
}
# The order in WAV and FLAC where a file does not say.
_DEFAULT_LAYOUT = {
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}


@dataclass(frozen=True, eq=False)
class Waveform:
    """Sound as samples.

    Attributes:
        samples: float32 of shape (channels, n), full scale being -1..1, finite.
        sample_rate: in Hz.

    Raises:
        ValueError: the samples have another shape, NaN or infinity, or the rate is below 1.
    """

    samples: np.ndarray
    sample_rate: int

    def __post_init__(self) -> None:
        samples = np.ascontiguousarray(self.samples, dtype=np.float32)
        if samples.ndim != 2 or samples.shape[0] < 1 or samples.shape[1] < 1:
            raise ValueError(f"expected samples of shape (channels, n), both at least 1, got {samples.shape}")
        if not np.isfinite(samples).all():
            raise ValueError("expected finite samples, got NaN or infinity")
        if self.sample_rate < 1:
            raise ValueError(f"expected a sample rate of at least 1 Hz, got {self.sample_rate}")
        object.__setattr__(self, "samples", samples)

    @property
    def channels(self) -> int:
        return self.samples.shape[0]

    @property
    def num_samples(self) -> int:
        return self.samples.shape[1]

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sample_rate

    @property
    def peak(self) -> float:
        """The largest absolute sample."""
        return float(max(self.samples.max(), -self.samples.min()))

    def to_mono(self) -> Waveform:
        """The mean of all channels."""
        if self.channels == 1:
            return self
        return Waveform(self.samples.mean(axis=0, keepdims=True), self.sample_rate)

    def to_stereo(self) -> Waveform:
        """Two channels: a mono waveform twice.

        Raises:
            ValueError: there are more than two channels.
        """
        if self.channels > 2:
            raise ValueError(f"expected at most 2 channels, got {self.channels}")
        return self if self.channels == 2 else Waveform(self.samples.repeat(2, axis=0), self.sample_rate)

    def resampled(self, sample_rate: int) -> Waveform:
        """The same sound at another rate: ``round(n * sample_rate / self.sample_rate)`` samples, at least 1.

        FFmpeg's resampler takes any ratio without rounding it, in little memory; errors lie below -80 dB up to 80 %
        of Nyquist's frequency.
        """
        if sample_rate == self.sample_rate:
            return self
        length = max(1, round(self.num_samples * sample_rate / self.sample_rate))
        samples = np.zeros((self.channels, length), np.float32)
        for source, target in zip(self.samples, samples):
            resampler, position = av.AudioResampler(format="flt", rate=sample_rate), 0
            for start in range(0, self.num_samples + _BLOCK, _BLOCK):
                # After the last block, None asks for what is still in the filter.
                frame = _frame(source[None, start : start + _BLOCK], self.sample_rate)
                for converted in resampler.resample(frame):
                    block = converted.to_ndarray()[0, : length - position]
                    target[position : position + len(block)] = block
                    position += len(block)
        return Waveform(samples, sample_rate)

    def normalized(self, peak_db: float = -1.0) -> Waveform:
        """The same sound with its peak at ``peak_db`` dB of full scale; silence stays silence."""
        peak = self.peak
        if peak == 0:
            return self
        return Waveform(self.samples / np.float32(peak) * np.float32(10 ** (peak_db / 20)), self.sample_rate)

    def sliced(self, start: int, stop: int) -> Waveform:
        """Samples ``start`` to ``stop``, which must lie inside and hold at least one sample."""
        if not 0 <= start < stop <= self.num_samples:
            raise ValueError(f"expected 0 <= start < stop <= {self.num_samples}, got {start} and {stop}")
        return Waveform(self.samples[:, start:stop], self.sample_rate)


def read_audio(source: str | Path | bytes, max_seconds: float | None = None,
               only_seconds: float | None = None) -> Waveform:
    """Sound of a file of nearly any kind: WAV, MP3, FLAC, OGG, M4A, WebM, AIFF, AMR, WMA, ...

    Args:
        source: a path, or the bytes of a file.
        max_seconds: longer audio is refused as soon as that much is decoded.
        only_seconds: no more than this much of the beginning is decoded.

    Returns:
        Mono or stereo at the file's own rate; 3 to 8 channels are mixed down to stereo.

    Raises:
        ValueError: there is no such file, it holds no audio or audio of 0 s, NaN, too many channels or too many
            seconds, or it is damaged.
    """
    if isinstance(source, bytes):
        name, file = "the given bytes", io.BytesIO(source)
    else:
        name = f"{Path(source).name!r}"
        if not Path(source).is_file():
            raise ValueError(f"expected an audio file, but there is no file {name}")
        file = Path(source).open("rb")
    with file:
        if not file.read(1):
            raise ValueError(f"expected an audio file, but {name} is empty")
        try:
            samples, rate = _collect(_blocks(file), max_seconds, only_seconds)
        except (av.FFmpegError, sf.LibsndfileError) as error:
            raise ValueError(
                f"expected an audio file such as WAV, MP3, FLAC, OGG, M4A or WebM, but {name} is none or is damaged"
            ) from error
    if samples.shape[1] == 0:
        raise ValueError(f"expected audio, but {name} holds 0 s")
    return Waveform(samples, rate)


def _collect(blocks: Iterator[tuple[np.ndarray, int]], max_seconds: float | None,
             only_seconds: float | None = None) -> tuple[np.ndarray, int]:
    """Join (channels, n) blocks, refuse them when they get too long, and stop when there are enough."""
    parts, total, rate = [np.zeros((1, 0), np.float32)], 0, 1
    for block, rate in blocks:
        parts.append(block)
        total += block.shape[1]
        if max_seconds is not None and total > max_seconds * rate:
            raise ValueError(f"expected at most {max_seconds:g} s of audio, got more")
        if only_seconds is not None and total >= only_seconds * rate:
            break
    samples = np.concatenate(parts[1:] or parts, axis=1)
    return samples if only_seconds is None else samples[:, : math.ceil(only_seconds * rate)], rate


def _blocks(file: BinaryIO) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks of samples, (channels, n), and their rate: from libsndfile where it can, else from FFmpeg."""
    file.seek(0)
    try:
        sound = sf.SoundFile(file)
    # A name that ends in .raw is taken to be headerless, and the rate to be missing: a TypeError.
    except (sf.LibsndfileError, TypeError):
        sound = None
    if sound is None or sound.channels > 2:  # libsndfile does not tell which loudspeaker a channel is for
        file.seek(0)
        yield from _av_blocks(file)
        return
    with sound:
        while len(block := sound.read(_BLOCK, dtype="float32", always_2d=True)):
            yield block.T, sound.samplerate


def _av_blocks(file: BinaryIO) -> Iterator[tuple[np.ndarray, int]]:
    with av.open(file, options={"format_whitelist": _DEMUXERS}, metadata_errors="replace") as container:
        if not container.streams.audio:
            raise ValueError("expected a file with sound, got one with no audio stream")
        stream = container.streams.audio[0]
        if not 1 <= stream.channels <= 8:
            raise ValueError(f"expected 1 to 8 channels, got {stream.channels}")
        to_float = av.AudioResampler(format="flt")  # interleaved: PyAV cannot count eight planes
        for frame in container.decode(stream):
            for converted in to_float.resample(frame):
                names = [channel.name for channel in converted.layout.channels]
                samples = converted.to_ndarray().reshape(-1, len(names)).T
                yield _mixed_down(samples, names), converted.sample_rate


def _mixed_down(samples: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """At most two channels out of up to eight, by the loudspeakers they are for (ITU-R BS.775, no LFE)."""
    if len(samples) <= 2:
        return samples
    if not set(names) <= _LOUDSPEAKERS.keys():
        names = _DEFAULT_LAYOUT[len(samples)]
    gains = np.array([_LOUDSPEAKERS[name] for name in names], np.float32).T
    return gains / gains.sum(axis=1).max() @ samples


def write_audio(wave: Waveform, path: str | Path, tags: Mapping[str, str] | None = None) -> Path:
    """Write a file in the format that its suffix names; the same input gives the same bytes.

    WAV and FLAC hold 16 bits, what is beyond full scale is clipped; MP3 and OGG (Vorbis) are coded at about
    190 kbit/s of variable rate. The file appears at once and whole, or not at all.

    Args:
        wave: mono or stereo.
        path: ends in one of ``SUFFIXES``; its folder exists.
        tags: texts that travel in the file, of any length. ``title``, ``artist``, ``album``, ``comment``,
            ``date`` and ``genre`` are shown by players; other names are kept as well.

    Returns:
        The path.

    Raises:
        ValueError: another suffix, no such folder, more than two channels, a rate that the format does not have, or
            a tag that is empty or whose name is not of a-z, 0-9 and _.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"expected a file name that ends in {', '.join(SUFFIXES)}, got {path.name!r}")
    if wave.channels > 2:
        raise ValueError(f"expected 1 or 2 channels, got {wave.channels}")
    tags = dict(tags or {})
    for key, value in tags.items():
        if not re.fullmatch(r"[a-z0-9_]+", key) or key == "encoder" or not value or "\0" in value:
            raise ValueError(
                f"expected tags with names of a-z, 0-9 and _ other than 'encoder', and some text, got {key!r}"
            )
    try:
        data = _ENCODERS[suffix](wave, tags)
    except (av.FFmpegError, sf.LibsndfileError) as error:
        raise ValueError(f"expected a sample rate that {suffix} can hold, got {wave.sample_rate} Hz") from error
    return write_whole(path, data)


def write_whole(path: Path, data: bytes) -> Path:
    """Write a file that appears at once and whole, or not at all. ValueError where there is no such folder."""
    if not path.parent.is_dir():
        raise ValueError(f"expected a folder to write to, but there is none at {str(path.parent)!r}")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_tags(path: str | Path) -> dict[str, str]:
    """The tags that :func:`write_audio` put in a file, names in lower case.

    Raises:
        ValueError: there is no such file or it is no audio file.
    """
    try:
        with av.open(str(path), options={"format_whitelist": _DEMUXERS}, metadata_errors="replace") as container:
            # OGG keeps tags with the stream, the others with the file.
            tags = {**container.metadata, **container.streams.audio[0].metadata}
    except (av.FFmpegError, IndexError, OSError) as error:
        raise ValueError(f"expected an audio file, but {Path(path).name!r} is missing or none") from error
    return {key.lower(): value for key, value in tags.items() if key.lower() != "encoder"}


def _frame(samples: np.ndarray, rate: int) -> av.AudioFrame | None:
    """FFmpeg's form of (channels, n) float32 or int16 samples; None when n is 0."""
    if not samples.shape[1]:
        return None
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(samples.T).reshape(1, -1),
        format="flt" if samples.dtype == np.float32 else "s16",
        layout="stereo" if len(samples) == 2 else "mono",
    )
    frame.sample_rate = rate
    return frame


def _encode_av(wave: Waveform, tags: Mapping[str, str], container: str, codec: str, **options: str) -> bytes:
    samples = np.clip(np.rint(wave.samples * 32768.0), -32768, 32767).astype(np.int16)
    frame = _frame(samples, wave.sample_rate)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, options=_REPRODUCIBLE) as output:
        stream = output.add_stream(codec, rate=wave.sample_rate, layout=frame.layout, options=options)
        output.metadata.update(tags)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def _encode_wav(wave: Waveform, tags: Mapping[str, str]) -> bytes:
    """WAV whose RIFF INFO holds what it has names for, and whose ID3 chunk holds every tag."""
    wav = _encode_av(wave, tags, "wav", "pcm_s16le")
    if not tags:
        return wav
    texts = [b"\x03" + key.encode() + b"\0" + value.encode() for key, value in tags.items()]  # 3: UTF-8
    frames = b"".join(b"TXXX" + _id3_size(len(text)) + b"\0\0" + text for text in texts)
    id3 = b"ID3\x04\0\0" + _id3_size(len(frames)) + frames
    chunk = b"id3 " + len(id3).to_bytes(4, "little") + id3 + b"\0" * (len(id3) % 2)
    return wav[:4] + (len(wav) + len(chunk) - 8).to_bytes(4, "little") + wav[8:] + chunk


def _id3_size(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def _encode_ogg(wave: Waveform, tags: Mapping[str, str]) -> bytes:
    """Vorbis from libsndfile: PyAV's wheels have no good encoder."""
    file = io.BytesIO()
    with sf.SoundFile(file, "w", wave.sample_rate, wave.channels, format="OGG", subtype="VORBIS") as sound:
        for start in range(0, wave.num_samples, _BLOCK):
            sound.write(wave.samples[:, start : start + _BLOCK].T)
    return retagged(file.getvalue(), tags)


_ENCODERS = {
    ".wav": _encode_wav,
    ".flac": partial(_encode_av, container="flac", codec="flac"),
    ".mp3": partial(_encode_av, container="mp3", codec="libmp3lame", flags="+qscale", global_quality="236"),
    ".ogg": _encode_ogg,
}
SUFFIXES = tuple(_ENCODERS)
