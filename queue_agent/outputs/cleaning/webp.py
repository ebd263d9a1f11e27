"""WebP: RFC 9649, section 2."""

from collections.abc import Iterator
from typing import Final

from queue_agent.outputs.cleaning import exif
from queue_agent.outputs.cleaning.damage import Damaged
from queue_agent.outputs.cleaning.mark import MARK, marked
from queue_agent.wire.output import MetadataRule

_BITSTREAMS: Final = frozenset({b"VP8 ", b"VP8L"})
_IN_FRAMES: Final = frozenset({b"ALPH", *_BITSTREAMS})
_OF_THE_PICTURE: Final = frozenset({b"VP8X", b"ICCP", b"ANIM", b"ANMF", *_IN_FRAMES})
_EXIF_FLAG, _XMP_FLAG, _ALPHA_FLAG = 0x08, 0x04, 0x10
_FRAME_HEADER: Final = 16

Chunk = tuple[bytes, bytes]


def cleaned(data: bytes, rule: MetadataRule) -> bytes:
    """The file with the chunks that the rule leaves."""
    size = 8 + int.from_bytes(data[4:8], "little")
    kept: list[Chunk] = []
    packet = b""
    for name, body in _chunks(data[12 : min(size, len(data))]):
        if name == b"XMP ":
            packet = packet or body
        elif name == b"EXIF" and rule != "keep":
            upright = exif.upright_of(body)
            kept += [(name, upright)] if upright else []
        elif rule == "keep" or name in _OF_THE_PICTURE:
            kept.append((name, _frame(body) if name == b"ANMF" and rule != "keep" else body))
    if rule == "keep":
        packet = marked(packet) if packet else MARK
    else:
        packet = MARK if rule == "minimal" else b""
    if packet:
        kept.append((b"XMP ", packet))
    rest = data[size:] if rule == "keep" else b""
    return _file(_with_header(kept)) + rest


def _frame(body: bytes) -> bytes:
    parts = [part for part in _chunks(body[_FRAME_HEADER:]) if part[0] in _IN_FRAMES]
    return body[:_FRAME_HEADER] + b"".join(_chunk(*part) for part in parts)


def _with_header(chunks: list[Chunk]) -> list[Chunk]:
    """The chunks after a header that tells of them, where there is more than the picture."""
    names = {name for name, _ in chunks}
    if not names & _BITSTREAMS and b"ANMF" not in names:
        raise Damaged("is a WebP without a picture")
    header = next((body for name, body in chunks if name == b"VP8X"), None)
    rest = [chunk for chunk in chunks if chunk[0] != b"VP8X"]
    if header is None:
        if len(rest) == 1:
            return rest
        header = _made_header(rest)
    if len(header) < 10:
        raise Damaged("is a WebP with a broken header")
    flags = header[0] & ~(_EXIF_FLAG | _XMP_FLAG)
    flags |= _EXIF_FLAG * (b"EXIF" in names) | _XMP_FLAG * (b"XMP " in names)
    return [(b"VP8X", bytes((flags, 0, 0, 0)) + header[4:10]), *rest]


def _made_header(chunks: list[Chunk]) -> bytes:
    """Of a file that was only a bitstream: RFC 6386, 9.1, and RFC 9649, 3.4."""
    name, body = next((chunk for chunk in chunks if chunk[0] in _BITSTREAMS), (b"", b""))
    if not name:
        raise Damaged("is a WebP that moves without a header")
    if name == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        flags = _ALPHA_FLAG * (bits >> 28 & 1)
    else:
        width, height = (
            int.from_bytes(body[place : place + 2], "little") & 0x3FFF for place in (6, 8)
        )
        flags = 0
    if not (width and height):
        raise Damaged("is a WebP without a size")
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes((flags, 0, 0, 0)) + sides


def _chunks(data: bytes) -> Iterator[Chunk]:
    place = 0
    while place + 8 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        if place + 8 + size > len(data):
            raise Damaged("is a WebP that is cut off")
        yield data[place : place + 4], data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)


def _file(chunks: list[Chunk]) -> bytes:
    body = b"WEBP" + b"".join(_chunk(*chunk) for chunk in chunks)
    return b"RIFF" + len(body).to_bytes(4, "little") + body
