"""TIFF 6.0, section 2: what is no part of the pictures leaves the directories, and is zeroed.

BigTIFF is the same with wider numbers: https://www.awaresystems.be/imaging/tiff/bigtiff.html.

The mark is XMP, of which a directory says where it is (XMP specification, part 3, 3.3).
"""

from dataclasses import dataclass
from typing import Final, Literal

from queue_agent.outputs.cleaning.damage import Damaged
from queue_agent.outputs.cleaning.mark import MARK, marked
from queue_agent.wire.output import MetadataRule

_OF_THE_PICTURE: Final = frozenset(
    {
        *(254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 274, 277, 278, 279, 282, 283, 284),
        *(292, 293, 296, 301, 317, 318, 319, 320, 322, 323, 324, 325, 332, 334, 338, 339, 340, 341),
        *(347, 512, 513, 514, 515, 519, 520, 521, 529, 530, 531, 532, 34675),
    }
)
"""TIFF 6.0, and 34675: the colour profile (ICC.1:2022, B.3)."""
_SIZES: Final = {
    **dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), 1)),
    16: 8,
    17: 8,
    18: 8,
}
"""Bytes of a value, by its type; those from 16 on are BigTIFF's."""
_DATA: Final = {273: 279, 324: 325, 513: 514}
"""Tags of where data lies, and those of how much it is."""
_MOST_DIRECTORIES: Final = 1000
_VERSION: Final = 42
_BIG: Final = 43
"""BigTIFF, whose places and counts have eight bytes; it is not marked."""
_XMP: Final = 700

Order = Literal["little", "big"]


def cleaned(data: bytes, rule: MetadataRule) -> bytes:
    """The file without what the rule takes out; its first picture is marked unless stripped."""
    order: Order = "little" if data[:2] == b"II" else "big"
    if rule == "keep":
        return _marked(data, order)
    file = _File(data, order, bytearray(len(data)))
    file.copy(0, 2 * file.width)
    place, seen = file.number(file.width, file.width), set[int]()
    while place:
        if place in seen or len(seen) >= _MOST_DIRECTORIES:
            raise Damaged("is a TIFF whose directories go in a circle")
        seen.add(place)
        place = file.directory(place)
    made = bytes(file.target)
    return made if rule == "strip" else _marked(made, order)


def _marked(data: bytes, order: Order) -> bytes:
    """The file with XMP that has the mark; its first directory moves to the end for that."""
    file = _File(data, order, bytearray())
    if file.number(2, 2) != _VERSION:
        return data
    entries, following = file.entries(file.number(4, 4))
    tags = {file.of(entry, 0, 2): entry for entry in entries}
    packet, told = MARK, tags.get(_XMP)
    if told is not None:
        before = file.outside(told)
        if (packet := marked(before)) == before:
            return data
    start = len(data) + len(data) % 2
    tags[_XMP] = b"".join(
        number.to_bytes(size, order)
        for number, size in ((_XMP, 2), (1, 2), (len(packet), 4), (start, 4))
    )
    end = start + len(packet) + len(packet) % 2
    return b"".join(
        (
            data[:4],
            end.to_bytes(4, order),
            data[8:].ljust(start - 8, b"\0"),
            packet.ljust(end - start, b"\0"),
            len(tags).to_bytes(2, order),
            *(tags[tag] for tag in sorted(tags)),
            following,
        )
    )


@dataclass
class _File:
    data: bytes
    order: Order
    target: bytearray
    """The new file, of the same size, so that all stays where it is."""

    @property
    def width(self) -> int:
        """Bytes of a place, of a count, and of a value that stands in its entry."""
        return 8 if self.number(2, 2) == _BIG else 4

    def number(self, place: int, size: int) -> int:
        return int.from_bytes(self.data[place : place + size], self.order)

    def copy(self, start: int, size: int) -> None:
        if start + size > len(self.data):
            raise Damaged("is a TIFF that is cut off")
        self.target[start : start + size] = self.data[start : start + size]

    def directory(self, place: int) -> int:
        """Copy a directory's picture; where the next one is."""
        entries, following = self.entries(place)
        kept = [entry for entry in entries if self.of(entry, 0, 2) in _OF_THE_PICTURE]
        values = {self.of(entry, 0, 2): self._values(entry) for entry in kept}
        for offsets, counts in _DATA.items():
            pairs = zip(values.get(offsets, ()), values.get(counts, ()), strict=False)
            for start, size in pairs:
                self.copy(start, size)
        new = len(kept).to_bytes(self._counting, self.order) + b"".join(kept) + following
        self.target[place : place + len(new)] = new
        return self.of(following, 0, self.width)

    def entries(self, place: int) -> tuple[list[bytes], bytes]:
        """What a directory has, and what tells of the next."""
        begin, size = place + self._counting, 4 + 2 * self.width
        end = begin + size * self.number(place, self._counting)
        if end + self.width > len(self.data):
            raise Damaged("is a TIFF that is cut off")
        entries = [self.data[start : start + size] for start in range(begin, end, size)]
        return entries, self.data[end : end + self.width]

    def outside(self, entry: bytes) -> bytes:
        """What an entry of many bytes tells of."""
        place, size = self.of(entry, 8, 4), self.of(entry, 4, 4)
        return self.data[place : place + size]

    @property
    def _counting(self) -> int:
        """Bytes of the number of a directory's entries."""
        return 8 if self.width == 8 else 2

    def of(self, entry: bytes, start: int, size: int) -> int:
        return int.from_bytes(entry[start : start + size], self.order)

    def _values(self, entry: bytes) -> list[int]:
        """Copy what stands outside of the entry; the numbers where they tell a place or a size."""
        width = self.width
        size, count = _SIZES.get(self.of(entry, 2, 2), 0), self.of(entry, 4, width)
        raw, place = entry[4 + width :], self.of(entry, 4 + width, width)
        if size * count > width:
            self.copy(place, size * count)
            raw = self.data[place : place + size * count]
        if self.of(entry, 0, 2) not in {*_DATA, *_DATA.values()} or not size:
            return []
        return [self.of(raw, size * index, size) for index in range(count)]
