"""Ogg with Opus or Vorbis: RFC 3533, RFC 7845 (section 5.2), and Vorbis I (sections 4.2 and 5).

Nothing moves: the comments become blanks, as if they were a long name of an encoder.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final, NamedTuple

from queue_agent.outputs.cleaning.damage import Damaged
from queue_agent.wire.output import MetadataRule

_HEADS: Final = {b"OpusHead": (b"OpusTags", b""), b"\x01vorbis": (b"\x03vorbis", b"\x01")}
"""How a stream begins, its second packet, and what that ends with."""
_LACING: Final = 27
_CHECKSUM: Final = 22
_COMMENTS: Final = 1
"""The place of their packet in a stream."""


class _Page(NamedTuple):
    start: int
    end: int
    stream: bytes
    segments: list[int]
    """Sizes, of which one below 255 ends a packet."""


def cleaned(data: bytes, rule: MetadataRule) -> bytes:
    """The file with what the rule leaves; it is not marked. What is after its last page goes."""
    if rule == "keep":
        return data
    buffer, end = bytearray(data), 0
    pieces = defaultdict[bytes, list[range]](list)
    packets = defaultdict[bytes, int](int)
    touched = dict[int, _Page]()
    for page in _pages(data):
        end, place = page.end, page.start + _LACING + len(page.segments)
        for size in page.segments:
            if packets[page.stream] == _COMMENTS:
                pieces[page.stream].append(range(place, place + size))
                touched[page.start] = page
            elif not packets[page.stream]:
                pieces[page.stream].append(range(place, place + 8))
            packets[page.stream] += size < 255
            place += size
    for first, *comments in pieces.values():
        _blank(buffer, data[first.start : first.stop], comments)
    for page in touched.values():
        buffer[page.start + _CHECKSUM : page.start + _CHECKSUM + 4] = bytes(4)
        told = _checksum(buffer[page.start : page.end]).to_bytes(4, "little")
        buffer[page.start + _CHECKSUM : page.start + _CHECKSUM + 4] = told
    return bytes(buffer[:end])


def _blank(buffer: bytearray, first: bytes, comments: list[range]) -> None:
    head = next((head for head in _HEADS if first.startswith(head)), None)
    if head is None:
        raise Damaged("is Ogg with a stream of which nobody here knows what else it holds")
    name, ending = _HEADS[head]
    size = sum(map(len, comments)) - len(name) - 8 - len(ending)
    if size < 0:
        raise Damaged("is Ogg without its comments")
    new = b"".join((name, size.to_bytes(4, "little"), b" " * size, bytes(4), ending))
    for piece in comments:
        buffer[piece.start : piece.stop], new = new[: len(piece)], new[len(piece) :]


def _pages(data: bytes) -> Iterator[_Page]:
    place = 0
    while data.startswith(b"OggS\0", place):
        count = data[place + 26]
        segments = [*data[place + _LACING : place + _LACING + count]]
        end = place + _LACING + count + sum(segments)
        if len(segments) < count or end > len(data):
            raise Damaged("is Ogg that is cut off")
        yield _Page(place, end, data[place + 14 : place + 18], segments)
        place = end


def _table() -> Iterator[int]:
    for value in range(256):
        remainder = value << 24
        for _ in range(8):
            remainder = remainder << 1 ^ (0x04C11DB7 if remainder & 0x80000000 else 0)
        yield remainder & 0xFFFFFFFF


_TABLE: Final = tuple(_table())


def _checksum(page: bytes | bytearray) -> int:
    """RFC 3533, section 6, field 7."""
    found = 0
    for byte in page:
        found = (found << 8 & 0xFFFFFFFF) ^ _TABLE[found >> 24 ^ byte]
    return found
