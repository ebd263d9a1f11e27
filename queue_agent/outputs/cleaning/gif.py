"""GIF: https://www.w3.org/Graphics/GIF/spec-gif89a.txt; XMP part 3, 1.1.2."""

from typing import Final

from queue_agent.outputs.cleaning.damage import Damaged
from queue_agent.outputs.cleaning.mark import MARK
from queue_agent.wire.output import MetadataRule

_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B
_CONTROL, _APPLICATION = 0xF9, 0xFF
_LOOPS: Final = (b"\x0bNETSCAPE2.0\x03\x01", b"\x0bANIMEXTS1.0\x03\x01")
_XMP: Final = b"\x0bXMP DataXMP"
_TRAILER: Final = bytes((1, *range(255, -1, -1), 0))
"""By which a reader of blocks finds the end of a packet that is none."""


def cleaned(data: bytes, rule: MetadataRule) -> bytes:
    """The file with the blocks that the rule leaves."""
    place = 13 + _colours(data[10])
    head, kept, has_xmp = data[6:place], [], False
    while (kind := data[place]) != _END:
        start = place
        if kind == _IMAGE:
            place = _after_blocks(data, place + 11 + _colours(data[place + 9]))
            kept.append(data[start:place])
        elif kind == _EXTENSION:
            place = _after_blocks(data, place + 2)
            block = data[start:place]
            has_xmp |= block[2:].startswith(_XMP)
            kept.append(block if rule == "keep" else _of_the_picture(block))
        else:
            raise Damaged("is a GIF with a block that is none")
    if rule == "minimal" or (rule == "keep" and not has_xmp):
        kept.insert(0, b"\x21\xff" + _XMP + MARK + _TRAILER)
    version = data[:6] if rule == "strip" else b"GIF89a"
    rest = data[place + 1 :] if rule == "keep" else b""
    return b"".join((version, head, *kept, b";", rest))


def _of_the_picture(block: bytes) -> bytes:
    """How a frame is shown, and how often all are; no comment, and nobody's own."""
    if block[1] == _CONTROL:
        return block[:8] if len(block) == 8 else b""
    if block[1] == _APPLICATION and block[2:].startswith(_LOOPS):
        return block[:18] + b"\0" if len(block) >= 19 else b""
    return b""


def _colours(packed: int) -> int:
    """Bytes of a table of colours."""
    return 3 * 2 ** ((packed & 7) + 1) if packed & 0x80 else 0


def _after_blocks(data: bytes, place: int) -> int:
    while size := data[place]:
        place += 1 + size
    return place + 1
