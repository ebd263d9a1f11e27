"""Windows icons: a directory of pictures, each a PNG or a bitmap without its file header.

https://learn.microsoft.com/previous-versions/ms997538(v=msdn.10) and, of bitmaps,
https://learn.microsoft.com/windows/win32/api/wingdi/ns-wingdi-bitmapinfoheader.
"""

from typing import Final

from queue_agent.outputs.cleaning import png
from queue_agent.outputs.cleaning.damage import Damaged
from queue_agent.wire.output import MetadataRule

_HEAD: Final = 6
_ENTRY: Final = 16
_BITMAP: Final = 40
"""Bytes of the only header that bitmaps in icons have."""
_PNG: Final = b"\x89PNG\r\n\x1a\n"


def cleaned(data: bytes, rule: MetadataRule) -> bytes:
    """The pictures of the directory, one behind another, and nothing else; they are not marked."""
    if rule == "keep":
        return data
    count = _number(data, 4, 2)
    place, entries, pictures, read = _HEAD + _ENTRY * count, [], [], 0
    for start in range(_HEAD, place, _ENTRY):
        entry = data[start : start + _ENTRY]
        size, offset = _number(entry, 8, 4), _number(entry, 12, 4)
        if len(entry) < _ENTRY or offset + size > len(data):
            raise Damaged("is an icon that is cut off")
        if (read := read + size) > len(data):  # a small file would become one of gigabytes
            raise Damaged("is an icon whose pictures lie within each other")
        picture = _picture(data[offset : offset + size])
        where = len(picture).to_bytes(4, "little") + place.to_bytes(4, "little")
        entries.append(entry[:3] + b"\0" + entry[4:8] + where)
        pictures.append(picture)
        place += len(picture)
    return b"".join((data[:_HEAD], *entries, *pictures))


def _picture(data: bytes) -> bytes:
    if data.startswith(_PNG):
        return png.cleaned(data, "strip")
    if _number(data, 0, 4) != _BITMAP or _number(data, 16, 4):
        raise Damaged("is an icon with a bitmap of another kind")
    width, height, bits = _number(data, 4, 4), _number(data, 8, 4) // 2, _number(data, 14, 2)
    colours = (_number(data, 32, 4) or 1 << bits) if bits <= 8 else 0
    pixels = height * ((width * bits + 31) // 32) * 4
    mask = height * ((width + 31) // 32) * 4
    least = _BITMAP + 4 * min(colours, 256) + pixels
    if len(data) < least:
        raise Damaged("is an icon that is cut off")
    has_mask = len(data) >= least + mask  # pixels with alpha need none
    return data[: least + mask if has_mask else least]


def _number(data: bytes, place: int, size: int) -> int:
    return int.from_bytes(data[place : place + size], "little")
