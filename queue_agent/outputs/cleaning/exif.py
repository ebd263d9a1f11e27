"""The one thing in Exif that a picture is shown by: which side is up. Exif 2.32, 4.6.2."""

from typing import Final

_ORIENTATION: Final = 0x0112
_MOST_ENTRIES: Final = 1000
PREFIX: Final = b"Exif\0\0"


def upright_of(exif: bytes) -> bytes:
    """Exif that says no more than the orientation that this one does; empty where it is usual."""
    value = _orientation(exif.removeprefix(PREFIX))
    if not 2 <= value <= 8:
        return b""
    entry = _ORIENTATION.to_bytes(2) + b"\0\3" + b"\0\0\0\1" + value.to_bytes(2) + b"\0\0"
    return b"MM\0*\0\0\0\x08" + b"\0\1" + entry + b"\0\0\0\0"


def _orientation(tiff: bytes) -> int:
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if order is None:
        return 1

    def number(place: int, size: int) -> int:
        return int.from_bytes(tiff[place : place + size], "little" if order == "little" else "big")

    place = number(4, 4)
    for entry in range(min(number(place, 2), _MOST_ENTRIES)):
        start = place + 2 + 12 * entry
        if number(start, 2) == _ORIENTATION:
            return number(start + 8, 2)
    return 1
