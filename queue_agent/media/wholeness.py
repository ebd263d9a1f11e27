"""Whether a file reaches its end, by its format's own structure; nothing is decoded.

What decoders are lenient about shows here: a file cut short, and damage where there are checksums.
"""

import os
import zlib
from collections.abc import Callable
from typing import BinaryIO, Final

_PIECE: Final = 2**20
_PLY_HEADER: Final = 2**16
_PLY_SIZES: Final = {
    name: size
    for size, names in {
        1: (b"char", b"uchar", b"int8", b"uint8"),
        2: (b"short", b"ushort", b"int16", b"uint16"),
        4: (b"int", b"uint", b"int32", b"uint32", b"float", b"float32"),
        8: (b"double", b"float64"),
    }.items()
    for name in names
}
_UNTOLD: Final = frozenset({0, 2**32 - 1, 2**32 - 9})
"""Sizes in a RIFF header by which a writer that could not go back says nothing."""


def is_cut_off(file: BinaryIO, media_type: str) -> bool:
    """Whether the file lacks its end, or its checksums are wrong.

    False where the format marks no end: then only its decoder knows how much there should be.
    """
    check = _CHECKS.get(media_type)
    return check is not None and not check(file)


def _png_is_whole(file: BinaryIO) -> bool:
    """Every chunk with its checksum, to the last one: https://www.w3.org/TR/png-3/#5Chunk-layout"""
    file.seek(8)
    names = set()
    while len(head := file.read(8)) == 8:
        left, checksum = int.from_bytes(head[:4]), zlib.crc32(head[4:])
        while left and (piece := file.read(min(left, _PIECE))):
            left -= len(piece)
            checksum = zlib.crc32(piece, checksum)
        if file.read(4) != checksum.to_bytes(4):
            return False
        names.add(head[4:])
        if head[4:] == b"IEND":
            return names >= {b"IHDR", b"IDAT"}
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
            return _holds(file, b"\xff\xd9")
    return False


def _gif_is_whole(file: BinaryIO) -> bool:
    """The trailer; zeros that pad the file count for nothing (GIF89a, section 27)."""
    end = _size(file)
    while end:
        start = max(0, end - _PIECE)
        file.seek(start)
        if piece := file.read(end - start).rstrip(b"\0"):
            return piece.endswith(b";")
        end = start
    return False


def _riff_is_whole(file: BinaryIO) -> bool:
    """The size that its header tells: Multimedia Programming Interface 1.0, chapter 2."""
    told = int.from_bytes(_at(file, 4, 4), "little")
    return told in _UNTOLD or told + 8 <= _size(file) + 1  # the pad byte at the end may lack


def _boxes_are_whole(*needed: bytes) -> Callable[[BinaryIO], bool]:
    """Boxes to the end, one of which is needed: ISO/IEC 14496-12, 4.2."""

    def check(file: BinaryIO) -> bool:
        names, place, end = set(), 0, _size(file)
        while place + 8 <= end:
            head = _at(file, place, 16)
            length = int.from_bytes(head[:4])
            if length == 1:
                length = int.from_bytes(head[8:16])
            names.add(head[4:8])
            if length == 0:  # to the end of the file
                place = end
            elif length < 8 or place + length > end:
                return not any(head) and not names.isdisjoint(needed)  # zeros that pad the file
            else:
                place += length
        return not names.isdisjoint(needed)

    return check


def _matroska_is_whole(file: BinaryIO) -> bool:
    """The header and the segment by their sizes, where they tell them: RFC 8794, section 6."""
    place, end = 0, _size(file)
    for _ in range(2):
        head = _at(file, place, 16)
        if len(head) < 2:
            return False
        name = _vint_length(head[0])
        length = _vint_length(head[name])
        value = int.from_bytes(head[name : name + length]) & (1 << 7 * length) - 1
        if value == (1 << 7 * length) - 1:  # not known when it was written
            return True
        place += name + length + value
    return place <= end


def _vint_length(first: int) -> int:
    return 9 - first.bit_length()


def _ogg_is_whole(file: BinaryIO) -> bool:
    """Whole pages to the end: RFC 3533, section 6."""
    place, end = 0, _size(file)
    while place < end:
        head = _at(file, place, 27)
        if len(head) < 27 or not head.startswith(b"OggS"):
            return False
        lengths = file.read(head[26])
        if len(lengths) < head[26]:
            return False
        place += 27 + head[26] + sum(lengths)
    return place == end


def _glb_is_whole(file: BinaryIO) -> bool:
    """The length that its header tells: glTF 2.0, section 4.4.2."""
    return int.from_bytes(_at(file, 8, 4), "little") <= _size(file)


def _ply_is_whole(file: BinaryIO) -> bool:
    """As many elements as its header tells: https://paulbourke.net/dataformats/ply

    Of what has lists only their counts are added, which is less than there must be.
    """
    file.seek(0)
    head = file.read(_PLY_HEADER)
    header, found, _ = head.partition(b"end_header")
    if not found:
        return len(head) == _PLY_HEADER  # a longer one than anybody writes
    counts, sizes = [0], [0]
    for line in header.split(b"\n"):
        words = line.split()
        if words[:1] == [b"element"] and len(words) == 3 and words[2].isdigit():
            counts.append(int(words[2]))
            sizes.append(0)
        elif words[:1] == [b"property"] and len(words) >= 3:
            kind = words[2] if words[1] == b"list" else words[1]
            sizes[-1] += _PLY_SIZES.get(kind, 0)
    file.seek(len(header) + len(found))
    start = file.tell() + len(file.readline())
    if b"format ascii" in header:
        return _lines(file, start) >= sum(counts)
    return start + sum(count * size for count, size in zip(counts, sizes, strict=True)) <= _size(
        file
    )


def _lines(file: BinaryIO, start: int) -> int:
    file.seek(start)
    lines, last = 0, b"\n"
    while piece := file.read(_PIECE):
        lines, last = lines + piece.count(b"\n"), piece
    return lines + (not last.endswith(b"\n"))


def _bmp_is_whole(file: BinaryIO) -> bool:
    """The size that its header tells: https://learn.microsoft.com/windows/win32/gdi/bitmap-storage"""
    return int.from_bytes(_at(file, 2, 4), "little") <= _size(file)


def _zip_is_whole(file: BinaryIO) -> bool:
    """The end of the central directory, before a comment (APPNOTE.TXT, 4.3.16)."""
    file.seek(max(0, _size(file) - 22 - 0xFFFF))
    return b"PK\5\6" in file.read()


def _size(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def _at(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)


def _holds(file: BinaryIO, wanted: bytes) -> bool:
    """Whether the rest of the file has these bytes in it."""
    before = b""
    while piece := file.read(_PIECE):
        if wanted in before + piece:
            return True
        before = piece[1 - len(wanted) :]
    return False


_MOVIE: Final = _boxes_are_whole(b"moov", b"moof")
_STILL: Final = _boxes_are_whole(b"meta", b"moov")

_CHECKS: Final[dict[str, Callable[[BinaryIO], bool]]] = {
    "application/zip": _zip_is_whole,
    "audio/mp4": _MOVIE,
    "audio/ogg": _ogg_is_whole,
    "audio/x-wav": _riff_is_whole,
    "image/apng": _png_is_whole,
    "image/avif": _STILL,
    "image/bmp": _bmp_is_whole,
    "image/gif": _gif_is_whole,
    "image/heic": _STILL,
    "image/jpeg": _jpeg_is_whole,
    "image/jpx": _boxes_are_whole(b"jp2c"),
    "image/png": _png_is_whole,
    "image/webp": _riff_is_whole,
    "model/gltf-binary": _glb_is_whole,
    "model/ply": _ply_is_whole,
    "video/3gpp": _MOVIE,
    "video/mp4": _MOVIE,
    "video/ogg": _ogg_is_whole,
    "video/quicktime": _MOVIE,
    "video/webm": _matroska_is_whole,
    "video/x-m4v": _MOVIE,
    "video/x-matroska": _matroska_is_whole,
    "video/x-msvideo": _riff_is_whole,
}
