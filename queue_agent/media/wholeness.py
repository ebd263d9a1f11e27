"""Whether an image file reaches its end: what decoders are lenient about."""

import zlib
from collections.abc import Callable
from typing import BinaryIO, Final

_PIECE: Final = 2**20


def is_cut_off(file: BinaryIO, media_type: str) -> bool:
    """Whether the file lacks its end, or its checksums are wrong; to be asked of decoded images.

    False where the format marks no end, since its decoder then knows how much there should be.
    """
    check = _CHECKS.get(media_type)
    return check is not None and not check(file)


def _png_is_whole(file: BinaryIO) -> bool:
    """Every chunk with its checksum, to the last one: https://www.w3.org/TR/png-3/#5Chunk-layout"""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        left, checksum = int.from_bytes(head[:4]), zlib.crc32(head[4:])
        while left and (piece := file.read(min(left, _PIECE))):
            left -= len(piece)
            checksum = zlib.crc32(piece, checksum)
        if file.read(4) != checksum.to_bytes(4):
            return False
        if head[4:] == b"IEND":
            return True
    return False


def _jpeg_is_whole(file: BinaryIO) -> bool:
    """An end marker after the first scan's begin, before which a thumbnail may have its own.

    ITU-T T.81, B.1.1.2 and B.1.1.4: segments tell their length; in a scan's data no such two
    bytes can stand.
    """
    file.seek(2)
    while len(head := file.read(4)) == 4 and head[0] == 0xFF:
        if head[1] == 0xFF:  # a fill byte
            file.seek(-3, 1)
            continue
        file.seek(int.from_bytes(head[2:]) - 2, 1)
        if head[1] == 0xDA:
            return b"\xff\xd9" in file.read()
    return False


def _gif_is_whole(file: BinaryIO) -> bool:
    """The trailer; zeros that pad the file count for nothing (GIF89a, section 27)."""
    return file.read().rstrip(b"\0").endswith(b";")


_CHECKS: Final[dict[str, Callable[[BinaryIO], bool]]] = {
    "image/apng": _png_is_whole,
    "image/gif": _gif_is_whole,
    "image/jpeg": _jpeg_is_whole,
    "image/png": _png_is_whole,
}
