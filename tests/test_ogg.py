"""Tags of Ogg Vorbis files."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import pytest
import soundfile as sf

from riffusion_space.ogg import _checksum, retagged


def vorbis(samples: int, channels: int = 1, rate: int = 44100) -> bytes:
    """A tone that sets in half-way: short and long blocks, pages of every kind."""
    sound = 0.3 * np.sin(0.05 * np.arange(samples)) * (np.arange(samples) >= samples // 2)
    file = io.BytesIO()
    sf.write(file, np.repeat(sound[:, None], channels, axis=1), rate, format="OGG", subtype="VORBIS")
    return file.getvalue()


def plain_checksum(data: bytes) -> int:
    """Bit by bit, as RFC 3533 defines it."""
    register = 0
    for byte in data:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ 0x04C11DB7 if register & 0x80000000 else register << 1) & 0xFFFFFFFF
    return register


def pages(data: bytes) -> list[bytes]:
    found, position = [], 0
    while position < len(data):
        segments = data[position + 26]
        size = 27 + segments + sum(data[position + 27 : position + 27 + segments])
        found.append(data[position : position + size])
        position += size
    return found


@pytest.mark.parametrize("data", [b"", b"a", bytes(range(256)) * 5])
def test_checksum_equals_the_plain_one(data):
    assert _checksum(data) == plain_checksum(data)


@pytest.mark.parametrize("samples", [1, 128, 1024, 12345, 70000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_sound_stays_the_same(samples, channels):
    before, rate = sf.read(io.BytesIO(vorbis(samples, channels)), always_2d=True)
    after, _ = sf.read(io.BytesIO(retagged(vorbis(samples, channels), {"title": "x"})), always_2d=True)
    assert after.shape == (samples, channels)
    assert np.array_equal(after, before)


@pytest.mark.parametrize("size", [0, 1, 200, 255 * 300, 400_000])  # the last ones take several pages
def test_tags_of_any_length(size):
    tags = {"title": "Glöckchen", "settings": "é" * size, "a": "b=c"}
    data = retagged(vorbis(5000), tags)
    with av.open(io.BytesIO(data)) as container:
        found = container.streams.audio[0].metadata
        assert {key.lower(): found[key] for key in found} == {key: text for key, text in tags.items() if text}
    assert len(sf.read(io.BytesIO(data))[0]) == 5000


def test_pages_are_numbered_and_sealed():
    data = pages(retagged(vorbis(70000), {"settings": "x" * 100_000}))
    for number, page in enumerate(data):
        assert page[:4] == b"OggS" and struct.unpack_from("<II", page, 14) == (1, number)
        assert struct.unpack_from("<I", page, 22)[0] == plain_checksum(page[:22] + bytes(4) + page[26:])
    assert [page[5] for page in data[:3]] == [2, 0, 1]  # the first; the tags, continued on a second page
    assert data[-1][5] & 4  # the last


def test_the_same_sound_gives_the_same_bytes():
    assert retagged(vorbis(5000), {"a": "b"}) == retagged(vorbis(5000), {"a": "b"})
