"""WebM and Matroska: RFC 8794 (EBML) and RFC 9559. What goes becomes void; nothing moves."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from queue_agent.outputs.cleaning.buffers import Buffer, number, zero
from queue_agent.outputs.cleaning.damage import Damaged

_SEGMENT: Final = 0x18538067
_CLUSTER: Final = 0x1F43B675
_HOLDERS: Final = frozenset({_SEGMENT, 0x1549A966, 0x1654AE6B, 0xAE})
"""Segment, Info, Tracks, TrackEntry."""
_GONE: Final = frozenset(
    {
        *(0x1254C367, 0x1941A469, 0x1043A770),  # Tags, Attachments, Chapters
        *(0x7BA9, 0x4461, 0x7384, 0x3C83AB, 0x3E83BB, 0x73A4, 0x3CB923, 0x3EB923),  # of Info
        *(0x536E, 0x258688),  # Name, CodecName of a track
        *(0xEC, 0xBF),  # Void, CRC-32
    }
)
_BLANKED: Final = frozenset({0x4D80, 0x5741})
"""MuxingApp and WritingApp, which must be there."""
_VOID: Final = 0xEC


class _Element(NamedTuple):
    id: int
    start: int
    body: int
    end: int
    is_open: bool
    """Whether its size was not known when it was written."""


def blank(buffer: Buffer) -> None:
    """Overwrite all that is not shown.

    Raises:
        Damaged: the elements do not follow each other.
    """
    _blank_within(buffer, 0, len(buffer))


def _blank_within(buffer: Buffer, start: int, end: int) -> None:
    for element in _elements(buffer, start, end):
        if element.id in _GONE:
            _void(buffer, element)
        elif element.id in _BLANKED:
            buffer[element.body : element.end] = b" " * (element.end - element.body)
        elif element.id in _HOLDERS:
            _blank_within(buffer, element.body, element.end)


def _elements(buffer: Buffer, place: int, end: int) -> Iterator[_Element]:
    while place < end:
        start = place
        id_length = _length(buffer[place])
        element_id = number(buffer, place, id_length)
        place += id_length
        if place >= end:
            raise Damaged("has elements that do not follow each other")
        size_length = _length(buffer[place])
        size = number(buffer, place, size_length) & (1 << 7 * size_length) - 1
        is_open = size == (1 << 7 * size_length) - 1
        place += size_length
        stop = end if is_open else place + size
        if stop > end or (is_open and element_id not in {_SEGMENT, _CLUSTER}):
            raise Damaged("has elements that do not follow each other")
        yield _Element(element_id, start, place, stop, is_open)
        if not (is_open and element_id == _CLUSTER):  # whose own elements follow as if beside it
            place = stop


def _length(first: int) -> int:
    if not first:
        raise Damaged("has elements that do not follow each other")
    return 9 - first.bit_length()


def _void(buffer: Buffer, element: _Element) -> None:
    """In the element's place, of its very size."""
    total = element.end - element.start
    length = 8 if total >= 9 else 1
    size = total - 1 - length
    if size < 0:
        raise Damaged("has an element of no size")
    head = bytes((_VOID,)) + (size | 1 << 7 * length).to_bytes(length)
    buffer[element.start : element.start + len(head)] = head
    zero(buffer, element.start + len(head), element.end)
