"""Waveforms, and files of every kind that browsers and phones make."""

from __future__ import annotations

import io
import json
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf
from PIL import Image

from riffusion_space import audio
from riffusion_space.audio import SUFFIXES, Waveform, read_audio, read_tags, write_audio


def tones(rate: int, seconds: float = 0.5, channels: int = 1) -> Waveform:
    """Channel ``c`` holds a tone of 300 * (c + 1) Hz."""
    time = np.arange(round(rate * seconds)) / rate
    return Waveform(np.stack([0.3 * np.sin(2 * np.pi * 300 * (c + 1) * time) for c in range(channels)]), rate)


def level_of(wave: Waveform, hz: float) -> np.ndarray:
    """Amplitude of a tone in each channel."""
    time = np.arange(wave.num_samples) / wave.sample_rate
    return 2 * np.abs((wave.samples * np.exp(-2j * np.pi * hz * time)).mean(axis=1))


def coded(wave: Waveform, container: str, codec: str, layout: str) -> bytes:
    """A file as a phone or a browser makes it."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=wave.sample_rate, layout=layout)
        interleaved = np.ascontiguousarray(wave.samples.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
        frame.sample_rate, frame.pts = wave.sample_rate, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def test_a_waveform_is_float32_and_contiguous():
    wave = Waveform(np.asfortranarray(np.ones((2, 5))), 44100)
    assert wave.samples.dtype == np.float32 and wave.samples.flags.c_contiguous
    assert (wave.channels, wave.num_samples, wave.peak) == (2, 5, 1)
    assert tones(8000, 0.25).duration_s == 0.25


@pytest.mark.parametrize(
    ("samples", "rate", "expected"),
    [
        (np.zeros(5), 44100, "shape"),
        (np.zeros((1, 0)), 44100, "shape"),
        (np.zeros((0, 5)), 44100, "shape"),
        (np.array([[0, np.nan]]), 44100, "NaN"),
        (np.array([[0, np.inf]]), 44100, "infinity"),
        (np.zeros((1, 5)), 0, "at least 1 Hz"),
    ],
)
def test_impossible_waveforms_are_refused(samples, rate, expected):
    with pytest.raises(ValueError, match=expected):
        Waveform(samples, rate)


def test_mono_and_stereo():
    wave = Waveform(np.array([[1, 2], [3, 6]]), 8000)
    assert wave.to_mono().samples.tolist() == [[2, 4]]
    assert wave.to_mono().to_stereo().samples.tolist() == [[2, 4], [2, 4]]
    assert wave.to_stereo() is wave
    with pytest.raises(ValueError, match="at most 2 channels, got 3"):
        Waveform(np.zeros((3, 5)), 8000).to_stereo()


def test_normalized():
    assert tones(8000).normalized(-6.0).peak == pytest.approx(10 ** (-6 / 20))
    assert Waveform(np.array([[0, 1e-40]]), 8000).normalized(0.0).samples.tolist() == [[0, 1]]
    assert Waveform(np.zeros((1, 5)), 8000).normalized().peak == 0


def test_sliced():
    assert Waveform(np.arange(6.0)[None], 8000).sliced(2, 4).samples.tolist() == [[2, 3]]
    for start, stop in ((-1, 4), (3, 3), (2, 7)):
        with pytest.raises(ValueError, match="stop <= 6"):
            Waveform(np.arange(6.0)[None], 8000).sliced(start, stop)


@pytest.mark.parametrize("rate", [8000, 11025, 12345, 44056, 44101, 48000, 96000])
def test_resampled_lies_where_it_lay(rate):
    wave = tones(rate, 3.0, channels=2)
    resampled = wave.resampled(44100)
    expected = tones(44100, 3.0, channels=2)
    assert resampled.samples.shape == expected.samples.shape
    assert np.abs(resampled.samples - expected.samples)[:, 500:-500].max() < 3e-4


def test_resampling_leaves_nothing_to_alias():
    time = np.arange(48000) / 48000
    high = Waveform(np.sin(2 * np.pi * 15000 * time)[None], 48000)
    assert high.resampled(16000).samples[:, 500:-500].max() < 1e-3


def test_resampled_edges():
    wave = tones(8000)
    assert wave.resampled(8000) is wave
    assert Waveform(np.ones((1, 1)), 48000).resampled(8000).num_samples == 1
    assert tones(8000, 65536 / 8000).resampled(4000).num_samples == 32768


@pytest.mark.parametrize(
    ("container", "codec", "rate", "layout", "channels"),
    [
        ("ipod", "aac", 44100, "stereo", 2),  # M4A
        ("ipod", "aac", 11025, "mono", 1),
        ("ipod", "alac", 48000, "stereo", 2),
        ("mp4", "aac", 48000, "5.1", 6),
        ("mp4", "aac", 32000, "7.1", 8),
        ("adts", "aac", 44100, "mono", 1),
        ("webm", "libopus", 48000, "mono", 1),
        ("webm", "libopus", 16000, "stereo", 2),
        ("webm", "libopus", 48000, "quad", 4),
        ("ogg", "libopus", 24000, "mono", 1),
        ("caf", "pcm_s16be", 12345, "stereo", 2),
        ("avi", "mp2", 44100, "stereo", 2),
    ],
)
def test_reads_what_phones_and_browsers_make(container, codec, rate, layout, channels):
    wave = read_audio(coded(tones(rate, 1.0, channels), container, codec, layout), max_seconds=2)
    assert wave.channels == min(channels, 2)
    assert wave.sample_rate == (48000 if container == "webm" else rate)
    assert wave.duration_s == pytest.approx(1.0, abs=0.2)
    if channels <= 2:
        for channel in range(channels):
            assert level_of(wave, 300 * (channel + 1))[channel] == pytest.approx(0.3, abs=0.06)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("channels", [1, 2])
def test_reads_what_soundfile_makes(tmp_path, suffix, channels):
    wave = tones(22050, 1.0, channels)
    path = tmp_path / f"sound{suffix}"
    sf.write(path, wave.samples.T, wave.sample_rate)
    for source in (path, str(path), path.read_bytes()):
        read = read_audio(source)
        assert (read.sample_rate, read.samples.shape) == (22050, wave.samples.shape)
        assert level_of(read, 300 * channels)[-1] == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("channels", range(1, 10))
def test_one_to_eight_channels(channels):
    file = io.BytesIO()
    wave = tones(11025, 0.5, channels)
    sf.write(file, wave.samples.T, wave.sample_rate, format="WAV")
    if channels > 8:
        with pytest.raises(ValueError, match="1 to 8 channels, got 9"):
            read_audio(file.getvalue())
    else:
        read = read_audio(file.getvalue())
        assert read.samples.shape == (min(channels, 2), wave.num_samples)
        assert read.peak <= 0.31


def test_loudspeakers_go_to_their_sides():
    """FL, FR, FC, LFE, BL, BR, told apart by their tones."""
    read = read_audio(coded(tones(48000, 1.0, 6), "wav", "pcm_s16le", "5.1"))
    left, right = np.transpose([level_of(read, 300 * (channel + 1)) for channel in range(6)])
    front = left[0]
    assert front == pytest.approx(0.3 / (1 + 2 * 0.5**0.5), rel=0.01)
    assert left / front == pytest.approx([1, 0, 0.5**0.5, 0, 0.5**0.5, 0], abs=0.01)
    assert right / front == pytest.approx([0, 1, 0.5**0.5, 0, 0, 0.5**0.5], abs=0.01)


def nan_wav() -> bytes:
    file = io.BytesIO()
    sf.write(file, np.array([0, np.nan, 1]), 44100, format="WAV", subtype="FLOAT")
    return file.getvalue()


def silent_video() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=10, width=32, height=32)
        output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        output.mux(stream.encode(None))
    return file.getvalue()


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return file.getvalue()


def no_samples() -> bytes:
    file = io.BytesIO()
    sf.write(file, np.zeros((0, 1)), 44100, format="WAV")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("text.wav", b"these are words, not sounds\n" * 50, "'text.wav' is none or is damaged"),
        ("empty.wav", b"", "'empty.wav' is empty"),
        ("nothing.wav", no_samples(), "'nothing.wav' holds 0 s"),
        ("nan.wav", nan_wav(), "NaN"),
        ("picture.mp3", picture(), "no audio stream|none or is damaged"),
        ("video.mp4", silent_video(), "no audio stream"),
        ("noise.raw", bytes(range(256)) * 8, "'noise.raw' is none or is damaged"),
        ("cut.m4a", coded(tones(44100), "ipod", "aac", "mono")[:2000], "'cut.m4a' is none or is damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[:10] else "",  # bytes may hold the time
)
def test_what_is_no_sound_gets_one_sentence(tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=expected) as caught:
        read_audio(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["gone.wav", "."])
def test_a_missing_file_gets_one_sentence(tmp_path, missing):
    with pytest.raises(ValueError, match="there is no file"):
        read_audio(tmp_path / missing)


@pytest.mark.parametrize(
    "playlist",
    ["#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{path}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile {path}\n"],
)
def test_an_upload_cannot_point_at_other_files(tmp_path, playlist):
    secret = write_audio(tones(44100), tmp_path / "secret.wav")
    upload = tmp_path / "upload.wav"
    upload.write_text(playlist.format(path=secret))
    with pytest.raises(ValueError, match="none or is damaged"):
        read_audio(upload)


@pytest.mark.parametrize("kind", ["wav", "webm"])
def test_too_long_is_refused(kind):
    wave = tones(48000, 3.0)
    data = coded(wave, "wav", "pcm_s16le", "mono") if kind == "wav" else coded(wave, "webm", "libopus", "mono")
    assert read_audio(data, max_seconds=3.0).duration_s == pytest.approx(3.0, abs=0.05)
    with pytest.raises(ValueError, match="at most 2.9 s"):
        read_audio(data, max_seconds=2.9)


def test_too_long_is_refused_before_it_is_all_decoded():
    def endless():
        while True:
            yield np.zeros((1, 1000), np.float32), 1000

    with pytest.raises(ValueError, match="at most 5 s"):
        audio._collect(endless(), max_seconds=5)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("rate", "samples", "channels"), [(44100, 22051, 2), (44100, 12345, 1), (8000, 4001, 1)])
def test_written_files_keep_length_and_sound(tmp_path, suffix, rate, samples, channels):
    wave = tones(rate, channels=channels, seconds=samples / rate)
    path = write_audio(wave, tmp_path / f"sound{suffix}")
    assert path == tmp_path / f"sound{suffix}"
    read = read_audio(path)
    assert (read.sample_rate, read.samples.shape) == (rate, (channels, samples))
    error = np.sqrt(np.mean((read.samples - wave.samples) ** 2))
    assert error < (2e-5 if suffix in (".wav", ".flac") else 0.03)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_input_gives_the_same_bytes(tmp_path, suffix):
    first, second = (write_audio(tones(44100), tmp_path / f"{n}{suffix}", {"title": "x"}) for n in "ab")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_tags_travel_in_the_file(tmp_path, suffix):
    settings = json.dumps({"prompt": 'naïve "日本語" 🎵', "numbers": list(range(3000))}, ensure_ascii=False)
    tags = {"title": "Glöckchen", "comment": settings, "settings": settings, "date": "2024", "a_b": "c=d; e\nf"}
    path = write_audio(tones(44100), tmp_path / f"sound{suffix}", tags)
    assert read_tags(path) == tags
    assert read_audio(path).num_samples == 22050
    assert read_tags(write_audio(tones(44100), tmp_path / f"bare{suffix}")) == {}


def test_players_find_the_tags_of_a_wav(tmp_path):
    path = write_audio(tones(44100), tmp_path / "sound.wav", {"title": "Bells", "comment": "loud"})
    with sf.SoundFile(path) as sound:
        assert (sound.title, sound.comment) == ("Bells", "loud")


def test_what_is_beyond_full_scale_is_clipped(tmp_path):
    wave = Waveform(np.array([[0, 1.5, -1.5, 0.25]]), 44100)
    assert read_audio(write_audio(wave, tmp_path / "x.wav")).samples.tolist() == [[0, 32767 / 32768, -1, 0.25]]


@pytest.mark.parametrize(
    ("wave", "name", "tags", "expected"),
    [
        (tones(44100), "sound.aiff", {}, r"ends in .wav, .flac, .mp3, .ogg, got 'sound.aiff'"),
        (tones(44100), "missing/sound.wav", {}, "there is none at"),
        (tones(44100, channels=3), "sound.wav", {}, "1 or 2 channels, got 3"),
        (tones(44056), "sound.mp3", {}, "sample rate that .mp3 can hold, got 44056 Hz"),
        (tones(44100), "sound.wav", {"Title": "x"}, "a-z, 0-9 and _"),
        (tones(44100), "sound.wav", {"title": ""}, "some text"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, wave, name, tags, expected):
    with pytest.raises(ValueError, match=expected):
        write_audio(wave, tmp_path / name, tags)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = write_audio(tones(44100), tmp_path / "sound.wav")
    before = path.read_bytes()

    def full(self: Path, data: bytes) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        write_audio(tones(8000), path)
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == before


def test_tags_of_no_sound_are_refused(tmp_path):
    (tmp_path / "text.wav").write_text("words")
    for name in ("text.wav", "gone.wav"):
        with pytest.raises(ValueError, match="is missing or none"):
            read_tags(tmp_path / name)


def test_tags_in_latin_1_do_no_harm(tmp_path):
    """What old taggers wrote: a title that is no UTF-8."""
    path = write_audio(tones(44100), tmp_path / "cafe.mp3", {"title": "Caf\u00e9"})
    m4a = tmp_path / "cafe.m4a"
    with av.open(str(path)) as source, av.open(str(m4a), "w", format="mp4") as target:
        stream = target.add_stream("aac", rate=44100)
        target.metadata["title"] = "Caf\u00e9"
        for frame in source.decode(audio=0):
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    data = m4a.read_bytes()
    assert b"Caf\xc3\xa9" in data
    m4a.write_bytes(data.replace(b"Caf\xc3\xa9", b"Caf\xe9 "))
    assert read_audio(m4a).duration_s == pytest.approx(0.5, abs=0.1)
    assert read_tags(m4a)["title"].startswith("Caf")


def test_only_the_beginning(tmp_path):
    wave = tones(44100, seconds=3)
    path = write_audio(wave, tmp_path / "song.wav")
    half = read_audio(path, only_seconds=0.5)
    assert half.num_samples == 22050 and np.array_equal(half.samples, read_audio(path).samples[:, :22050])
    assert read_audio(path, only_seconds=60).num_samples == wave.num_samples
