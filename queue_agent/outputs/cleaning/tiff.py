"""TIFF 6.0, section 2: what is no part of the pictures leaves the directories, and is zeroed.

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
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_DATA: Final = {273: 279, 324: 325, 513: 514}
"""Tags of where data lies, and those of how much it is."""
_MOST_DIRECTORIES: Final = 1000
_VERSION: Final = 42
"""The other, BigTIFF, is not marked."""
_XMP: Final = 700

Order = Literal["little", "big"]


def cleaned(data: bytes, rule: MetadataRule) -> bytes:
    """The file without what the rule takes out; its first picture is marked unless stripped."""
    order: Order = "little" if data[:2] == b"II" else "big"
    if rule == "keep":
        return _marked(data, order)
    file = _File(data, order, bytearray(len(data)))
    file.copy(0, 8)
    place, seen = file.number(4, 4), set[int]()
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
        new = len(kept).to_bytes(2, self.order) + b"".join(kept) + following
        self.target[place : place + len(new)] = new
        return self.of(following, 0, 4)

    def entries(self, place: int) -> tuple[list[bytes], bytes]:
        """What a directory has, and what tells of the next."""
        end = place + 2 + 12 * self.number(place, 2)
        if end + 4 > len(self.data):
            raise Damaged("is a TIFF that is cut off")
        entries = [self.data[start : start + 12] for start in range(place + 2, end, 12)]
        return entries, self.data[end : end + 4]

    def outside(self, entry: bytes) -> bytes:
        """What an entry of many bytes tells of."""
        place, size = self.of(entry, 8, 4), self.of(entry, 4, 4)
        return self.data[place : place + size]

    def of(self, entry: bytes, start: int, size: int) -> int:
        return int.from_bytes(entry[start : start + size], self.order)

    def _values(self, entry: bytes) -> list[int]:
        """Copy what stands outside of the entry; the numbers where they tell a place or a size."""
        size, count = _SIZES.get(self.of(entry, 2, 2), 0), self.of(entry, 4, 4)
        raw, place = entry[8:12], self.of(entry, 8, 4)
        if size * count > 4:
            self.copy(place, size * count)
            raw = self.data[place : place + size * count]
        if self.of(entry, 0, 2) not in {*_DATA, *_DATA.values()} or not size:
            return []
        return [self.of(raw, size * index, size) for index in range(count)]
