"""JPEG: ITU-T T.81, annex B; XMP part 3, 1.1.3; ICC.1:2022, B.4."""

import re
from collections.abc import Iterator
from typing import Final

from queue_agent.outputs.cleaning import exif
from queue_agent.outputs.cleaning.damage import Damaged
from queue_agent.outputs.cleaning.mark import MARK, marked
from queue_agent.wire.output import MetadataRule

_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_ICC: Final = b"ICC_PROFILE\0"
_APP0, _APP1, _APP2, _APP14, _COM = 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_SOS, _EOI = 0xDA, 0xD9
_LARGEST: Final = 0xFFFF - 2
_MARKER: Final = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
_WITHOUT_SIZE: Final = frozenset({0x01, *range(0xD0, 0xD9)})


def cleaned(data: bytes, rule: MetadataRule) -> bytes:
    """The file with the segments that the rule leaves.

    What follows the picture, as another one does for displays of a higher range, stays with all.
    """
    if rule == "keep":
        return _with_mark(data)
    kept, is_marked = [b"\xff\xd8"], rule == "strip"
    for marker, body, _, scan in _segments(data):
        found = _of_the_picture(marker, body)
        if found is None:
            continue
        if not (is_marked or marker == _APP0):
            kept.append(_segment(_APP1, _XMP + MARK))
            is_marked = True
        kept += [_segment(marker, found), scan]
    return b"".join((*kept, b"\xff\xd9"))


def _with_mark(data: bytes) -> bytes:
    """With the mark in its XMP or, where there is none, in one after JFIF's and Exif's segments."""
    place = None
    for marker, body, start, scan in _segments(data):
        if marker == _APP1 and body.startswith(_XMP):
            new = _XMP + marked(body.removeprefix(_XMP))
            segment = _segment(_APP1, new if len(new) <= _LARGEST else body)
            return data[:start] + segment + data[start + 4 + len(body) :]
        if place is None and marker != _APP0 and not _is_exif(marker, body):
            place = start
        if scan:
            break
    if place is None:
        raise Damaged("is a JPEG without a picture")
    return data[:place] + _segment(_APP1, _XMP + MARK) + data[place:]


def _is_exif(marker: int, body: bytes) -> bool:
    return marker == _APP1 and body.startswith(exif.PREFIX)


def _of_the_picture(marker: int, body: bytes) -> bytes | None:
    """What a decoder needs of a segment; None: nothing."""
    if marker == _APP0:  # without its thumbnail
        return body[:12] + b"\0\0" if body.startswith(b"JFIF\0") and len(body) >= 14 else None
    if marker == _APP2:
        return body if body.startswith(_ICC) else None
    if marker == _APP14:  # says how colours are told
        return body[:12] if body.startswith(b"Adobe") and len(body) >= 12 else None
    if _is_exif(marker, body):
        upright = exif.upright_of(body)
        return exif.PREFIX + upright if upright else None
    is_application = _APP0 <= marker <= 0xEF or marker == _COM or 0xF0 <= marker <= 0xFD
    return None if is_application else body


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int, bytes]]:
    """Markers, what they hold, where they begin, and after a scan's header its data; to the end
    of the picture."""
    place = 2
    while found := _MARKER.search(data, place):
        marker, place = data[found.end() - 1], found.end()
        if marker == _EOI:
            return
        if marker in _WITHOUT_SIZE:
            continue
        size = int.from_bytes(data[place : place + 2])
        body, start, place = data[place + 2 : place + size], place - 2, place + size
        if size < 2 or place > len(data):
            break
        scan = b""
        if marker == _SOS:
            after = _MARKER.search(data, place)
            end = after.start() if after else len(data)
            scan, place = data[place:end], end
        yield marker, body, start, scan
    raise Damaged("is a JPEG without its end")


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2) + body
