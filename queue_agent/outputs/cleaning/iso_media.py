"""MP4, QuickTime and AVIF: ISO/IEC 14496-12 and 23008-12; XMP part 3, 1.1.6.

Nothing moves: what goes is overwritten with zeros and becomes free space, and the mark follows the
file's last box in one of its own.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from queue_agent.outputs.cleaning.buffers import Buffer, number, zero
from queue_agent.outputs.cleaning.damage import Damaged
from queue_agent.outputs.cleaning.mark import MARK
from queue_agent.wire.output import MetadataRule

_XMP: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
MARK_BOX: Final = (24 + len(MARK)).to_bytes(4) + b"uuid" + _XMP + MARK

_TOP: Final = frozenset(
    {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"meta", b"mfra", b"sidx", b"ssix", b"pdin"}
)
"""Boxes of a file that are about what is shown."""
_HOLDERS: Final = frozenset({b"moov", b"trak", b"mdia", b"minf", b"moof", b"traf", b"mvex"})
_GONE: Final = frozenset({b"udta", b"meta", b"uuid", b"free", b"skip", b"wide", b"cprt", b"loci"})
"""Boxes within those that are not about that."""
_TIMED: Final = frozenset({b"mvhd", b"tkhd", b"mdhd"})
_PICTURES: Final = frozenset({b"av01", b"grid", b"iden", b"iovl", b"tmap", b"hvc1", b"jpeg"})
"""Types of items that are pictures or parts of one."""
_MOST_ITEMS: Final = 10_000
_DEEPEST: Final = 8


class _Box(NamedTuple):
    name: bytes
    start: int
    body: int
    end: int


def cleaned(data: bytes, rule: MetadataRule) -> bytes:
    """The file with what the rule leaves."""
    if rule == "keep":
        return data if _XMP in data else _closed(bytearray(data)) + MARK_BOX
    buffer = bytearray(data)
    blank(buffer)
    return bytes(buffer) if rule == "strip" else bytes(buffer) + MARK_BOX


def blank(buffer: Buffer) -> None:
    """Overwrite all that is not shown.

    Raises:
        Damaged: the boxes do not follow each other.
    """
    for box in _boxes(buffer, 0, len(buffer)):
        _tell_size(buffer, box)
        if box.name == b"meta":
            _blank_items(buffer, box)
        elif box.name not in _TOP:
            _free(buffer, box)
        else:
            _blank_within(buffer, box, 0)


def _blank_within(buffer: Buffer, holder: _Box, depth: int) -> None:
    if holder.name not in _HOLDERS:
        return
    if depth > _DEEPEST:
        raise Damaged("has boxes too deep within others")
    for box in _boxes(buffer, holder.body, holder.end):
        if box.name in _GONE:
            _free(buffer, box)
        elif box.name in _TIMED:
            size = 16 if buffer[box.body] == 1 else 8
            zero(buffer, box.body + 4, min(box.body + 4 + size, box.end))
        elif box.name == b"hdlr":  # whose name is anybody's
            zero(buffer, box.body + 24, box.end)
        else:
            _blank_within(buffer, box, depth + 1)


def _blank_items(buffer: Buffer, meta: _Box) -> None:
    """What an image file's items hold that are no pictures (ISO/IEC 14496-12, 8.11)."""
    boxes = {box.name: box for box in _boxes(buffer, meta.body + 4, meta.end)}
    if b"iinf" not in boxes or b"iloc" not in boxes:
        _free(buffer, meta)
        return
    pictures = _picture_ids(buffer, boxes[b"iinf"])
    idat = boxes.get(b"idat")
    for item, in_idat, start, size in _extents(buffer, boxes[b"iloc"]):
        if item not in pictures:
            base = idat.body if in_idat and idat else 0
            zero(buffer, base + start, base + start + size if size else len(buffer))
    for name, box in boxes.items():
        if name in {b"uuid", b"free", b"skip", b"xml ", b"bxml"}:
            _free(buffer, box)


def _picture_ids(buffer: Buffer, iinf: _Box) -> set[int]:
    start = iinf.body + (6 if buffer[iinf.body] == 0 else 8)
    found = set()
    for box in _boxes(buffer, start, iinf.end):
        version = buffer[box.body]
        if box.name != b"infe" or version < 2:
            continue
        size = 2 if version == 2 else 4
        place = box.body + 4 + size + 2
        if bytes(buffer[place : place + 4]) in _PICTURES:
            found.add(number(buffer, box.body + 4, size))
        else:  # of a type that nobody reads: zeros are no Exif
            buffer[place : place + 4] = b"skip"
        zero(buffer, place + 4, box.end)  # its name
    return found


def _extents(buffer: Buffer, iloc: _Box) -> Iterator[tuple[int, bool, int, int]]:
    """Item, whether it is within the metadata's own data, place and size of each piece."""
    version, sizes = buffer[iloc.body], number(buffer, iloc.body + 4, 2)
    of_offset, of_length, of_base, of_index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    if version == 0:
        of_index = 0
    id_size = 2 if version < 2 else 4
    place, left = iloc.body + 6 + id_size, number(buffer, iloc.body + 6, id_size)
    for _ in range(min(left, _MOST_ITEMS)):
        item, place = number(buffer, place, id_size), place + id_size
        in_idat = bool(version) and number(buffer, place, 2) & 15 == 1
        place += (2 if version else 0) + 2
        base, place = number(buffer, place, of_base), place + of_base
        count, place = number(buffer, place, 2), place + 2
        for _ in range(min(count, _MOST_ITEMS)):
            place += of_index
            offset, place = number(buffer, place, of_offset), place + of_offset
            length, place = number(buffer, place, of_length), place + of_length
            if place > iloc.end:
                raise Damaged("has items at no place")
            yield item, in_idat, base + offset, length


def _boxes(buffer: Buffer, place: int, end: int) -> Iterator[_Box]:
    while place + 8 <= end:
        size, name = number(buffer, place, 4), bytes(buffer[place + 4 : place + 8])
        body = place + 8
        if size == 1:
            size, body = number(buffer, place + 8, 8), place + 16
        stop = place + size if size else end
        if stop < body or stop > end:
            raise Damaged("has boxes that do not follow each other")
        yield _Box(name, place, body, stop)
        place = stop
    zero(buffer, place, end)


def _free(buffer: Buffer, box: _Box) -> None:
    buffer[box.start + 4 : box.start + 8] = b"free"
    zero(buffer, box.body, box.end)


def _closed(buffer: bytearray) -> bytes:
    """The file, whose last box says how large it is, for others to follow it."""
    for box in list(_boxes(buffer, 0, len(buffer))):
        _tell_size(buffer, box)
    return bytes(buffer)


def _tell_size(buffer: Buffer, box: _Box) -> None:
    """Of a last box that goes to the file's end, whatever its size."""
    if number(buffer, box.start, 4) == 0:
        if box.end - box.start >= 2**32:
            raise Damaged("has a last box that is too large")
        buffer[box.start : box.start + 4] = (box.end - box.start).to_bytes(4)
