"""Files that are changed where they lie, so that all in them stays at its place."""

from collections.abc import Callable
from mmap import mmap
from typing import Final

from queue_agent.wire.output import MetadataRule

Buffer = bytearray | mmap

_PIECE: Final = 2**20


def number(buffer: Buffer, place: int, size: int) -> int:
    """A number whose first byte counts most; zeros follow the file's end."""
    return int.from_bytes(buffer[place : place + size].ljust(size, b"\0"))


def zero(buffer: Buffer, start: int, end: int) -> None:
    """Overwrite what is there of these bytes."""
    end = min(end, len(buffer))
    for place in range(start, end, _PIECE):
        size = min(_PIECE, end - place)
        buffer[place : place + size] = bytes(size)


def by_blanking(blank: Callable[[Buffer], None]) -> Callable[[bytes, MetadataRule], bytes]:
    """A cleaner of files that stay unmarked: of what the rule takes out, all."""

    def cleaned(data: bytes, rule: MetadataRule) -> bytes:
        if rule == "keep":
            return data
        buffer = bytearray(data)
        blank(buffer)
        return bytes(buffer)

    return cleaned
