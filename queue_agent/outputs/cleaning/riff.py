"""WAV and AVI: Multimedia Programming Interface and Data Specifications 1.0, chapters 2 and 3;
OpenDML AVI 1.02. Nothing moves: what goes becomes junk of its size."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from queue_agent.outputs.cleaning.buffers import Buffer, zero
from queue_agent.outputs.cleaning.damage import Damaged

_HOLDERS: Final = frozenset({b"hdrl", b"strl", b"odml"})
_OF_THE_MEDIA: Final = frozenset(
    {
        *(b"fmt ", b"fact", b"data", b"wavl", b"slnt"),
        *(b"avih", b"strh", b"strf", b"indx", b"dmlh", b"vprp", b"movi", b"idx1"),
    }
)
_UNTOLD: Final = 2**31
"""Sizes from here on are of writers that could not go back."""
_DEEPEST: Final = 8


class _Chunk(NamedTuple):
    name: bytes
    """Of a list what kind it is."""
    is_list: bool
    start: int
    body: int
    end: int


def blank(buffer: Buffer) -> None:
    """Overwrite all that is neither seen nor heard.

    Raises:
        Damaged: the chunks do not follow each other.
    """
    end = 0
    while bytes(buffer[end : end + 4]) == b"RIFF":
        form = next(_chunks(buffer, end, len(buffer)), None)
        if form is None:
            break
        _blank_within(buffer, form, 0)
        end = form.end + (form.end - form.start) % 2
    zero(buffer, end, len(buffer))


def _blank_within(buffer: Buffer, holder: _Chunk, depth: int) -> None:
    if depth > _DEEPEST:
        raise Damaged("has lists too deep within others")
    for chunk in _chunks(buffer, holder.body, holder.end):
        if chunk.is_list and chunk.name in _HOLDERS:
            _blank_within(buffer, chunk, depth + 1)
        elif chunk.name not in _OF_THE_MEDIA:
            buffer[chunk.start : chunk.start + 4] = b"JUNK"
            zero(buffer, chunk.start + 8, chunk.end)


def _chunks(buffer: Buffer, place: int, end: int) -> Iterator[_Chunk]:
    while place + 8 <= end:
        name = bytes(buffer[place : place + 4])
        size = int.from_bytes(buffer[place + 4 : place + 8], "little")
        stop = place + 8 + size
        if stop > end and size < _UNTOLD and name not in {b"data", b"RIFF"}:
            raise Damaged("has chunks that do not follow each other")
        stop, body, start = min(stop, end), place + 8, place
        is_list = name in {b"RIFF", b"LIST"}
        if is_list:
            name, body = bytes(buffer[place + 8 : place + 12]), place + 12
        place = stop + size % 2
        yield _Chunk(name, is_list, start, body, stop)
    zero(buffer, place, end)
