"""PNG and animated PNG: https://www.w3.org/TR/png-3/#4Concepts.FormatChunks"""

import zlib
from collections.abc import Iterator
from typing import Final

from queue_agent.outputs.cleaning import exif
from queue_agent.outputs.cleaning.damage import Damaged
from queue_agent.outputs.cleaning.mark import MARK, marked
from queue_agent.wire.output import MetadataRule

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_OF_THE_PICTURE: Final = frozenset(
    {
        *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT"),
        *(b"cHRM", b"cICP", b"cLLI", b"gAMA", b"iCCP", b"mDCV", b"pHYs", b"sBIT", b"sRGB", b"bKGD"),
    }
)
_TEXTS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_XMP: Final = b"XML:com.adobe.xmp\0"
_XMP_HEAD: Final = _XMP + b"\0\0\0\0"
"""Uncompressed, without a language (XMP part 3, 1.1.5)."""
_GRAPHS: Final = (b"workflow\0", b"prompt\0")
"""The keywords under which ComfyUI writes its workflow."""


def cleaned(data: bytes, rule: MetadataRule) -> bytes:
    """The file with the chunks that the rule leaves; what follows its end goes but with all."""
    if rule == "keep":
        return _with_mark(data)
    kept = [_SIGNATURE]
    is_marked = rule == "strip"
    for name, start, end in _chunks(data):
        if name == b"IDAT" and not is_marked:
            kept.append(_MARK_CHUNK)
            is_marked = True
        if name in _OF_THE_PICTURE:
            kept.append(data[start:end])
        elif name == b"eXIf" and (upright := exif.upright_of(data[start + 8 : end - 4])):
            kept.append(_chunk(name, upright))
    return b"".join(kept)


def _with_mark(data: bytes) -> bytes:
    """With the mark in its XMP or, where there is none, in a chunk before the picture's first."""
    place = None
    for name, start, end in _chunks(data):
        if name == b"iTXt" and data.startswith(_XMP, start + 8):
            if not data.startswith(_XMP_HEAD, start + 8):  # compressed, as it should not be
                return data
            packet = marked(data[start + 8 + len(_XMP_HEAD) : end - 4])
            return data[:start] + _chunk(name, _XMP_HEAD + packet) + data[end:]
        if name == b"IDAT" and place is None:
            place = start
    if place is None:
        raise Damaged("is a PNG without a picture")
    return data[:place] + _MARK_CHUNK + data[place:]


def holds_graph(data: bytes) -> bool:
    """Whether there is a text that ComfyUI writes its workflow into, compressed or not."""
    return any(
        name in _TEXTS and data.startswith(_GRAPHS, start + 8) for name, start, _ in _chunks(data)
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Names, and where the chunks begin and end; to the end mark."""
    place = len(_SIGNATURE)
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4])
        name = data[place + 4 : place + 8]
        if end > len(data):
            break
        yield name, place, end
        if name == b"IEND":
            return
        place = end
    raise Damaged("is a PNG without its end")


def _chunk(name: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(name))
    return len(body).to_bytes(4) + name + body + checksum.to_bytes(4)


_MARK_CHUNK: Final = _chunk(b"iTXt", _XMP_HEAD + MARK)
