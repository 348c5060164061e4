"""Tags of an Ogg Vorbis file, page by page (RFC 3533; Vorbis I specification, section 5 and appendix A).

libsndfile encodes Vorbis well, but knows few tags and draws a random serial number for every file; FFmpeg's muxer
shifts and cuts the sound of short files when it copies them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_HEADER = struct.Struct("<4sBBqIIIB")  # capture, version, flags, granule position, serial, number, checksum, segments
_SERIAL = 1
_CONTINUED = 1
_NO_PACKET_ENDS = -1

# The checksum runs through bits in the other direction than zlib's does.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class _Page(NamedTuple):
    flags: int
    granule: int
    lacing: bytes  # sizes of segments; a packet ends at the first one below 255
    body: bytes


def retagged(vorbis: bytes, tags: Mapping[str, str]) -> bytes:
    """The same sound with these tags only, and the same bytes for the same sound and tags.

    Args:
        vorbis: a file of one Vorbis stream, as libsndfile writes it.
    """
    first, *pages = _pages(vorbis)
    # The second and third packet, tags and codebooks, fill pages of their own.
    body, lacing, ends = b"", b"", 0
    while ends < 2:
        page = pages.pop(0)
        body, lacing = body + page.body, lacing + page.lacing
        ends += sum(size < 255 for size in page.lacing)
    size = _first_packet_size(lacing)
    packets = (_with_tags(body[:size], tags), body[size:])
    pages = [first, *_packed(packets), *pages]
    return b"".join(_written(number, page) for number, page in enumerate(pages))


def _pages(data: bytes) -> Iterator[_Page]:
    position = 0
    while position < len(data):
        _, _, flags, granule, _, _, _, segments = _HEADER.unpack_from(data, position)
        position += _HEADER.size
        lacing = data[position : position + segments]
        position += segments
        yield _Page(flags, granule, lacing, data[position : position + sum(lacing)])
        position += sum(lacing)


def _first_packet_size(lacing: bytes) -> int:
    full = next(index for index, size in enumerate(lacing) if size < 255)
    return 255 * full + lacing[full]


def _with_tags(packet: bytes, tags: Mapping[str, str]) -> bytes:
    """A comment packet with the vendor of another."""
    start = len(b"\x03vorbis")
    (vendor,) = struct.unpack_from("<I", packet, start)
    comments = [f"{key}={value}".encode() for key, value in tags.items()]
    sized = b"".join(struct.pack("<I", len(comment)) + comment for comment in comments)
    return packet[: start + 4 + vendor] + struct.pack("<I", len(comments)) + sized + b"\x01"


def _packed(packets: tuple[bytes, ...]) -> Iterator[_Page]:
    """Header packets as pages of at most 255 segments."""
    body = b"".join(packets)
    lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    flags = 0
    while lacing:
        sizes, lacing = lacing[:255], lacing[255:]
        granule = 0 if min(sizes) < 255 else _NO_PACKET_ENDS
        yield _Page(flags, granule, sizes, body[: sum(sizes)])
        body = body[sum(sizes) :]
        flags = _CONTINUED if sizes[-1] == 255 else 0


def _written(number: int, page: _Page) -> bytes:
    def whole(checksum: int) -> bytes:
        fields = (b"OggS", 0, page.flags, page.granule, _SERIAL, number, checksum, len(page.lacing))
        return _HEADER.pack(*fields) + page.lacing + page.body

    return whole(_checksum(whole(0)))


def _checksum(data: bytes) -> int:
    """CRC-32 with neither the first nor the last inversion of zlib's, all bits reversed."""
    reversed_sum = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reversed_sum:032b}"[::-1], 2)
