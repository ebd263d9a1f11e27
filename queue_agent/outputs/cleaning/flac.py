"""FLAC: RFC 9639, sections 6 and 8."""

from typing import Final

from queue_agent.outputs.cleaning import id3
from queue_agent.outputs.cleaning.damage import Damaged
from queue_agent.wire.output import MetadataRule

_SIGNATURE: Final = b"fLaC"
_STREAMINFO, _SEEKTABLE = 0, 3
_LAST: Final = 0x80


def cleaned(data: bytes, rule: MetadataRule) -> bytes:
    """The file with the blocks that the rule leaves; it is not marked."""
    if rule == "keep":
        return data
    place, kept, is_last = len(_SIGNATURE), list[bytes](), False
    while not is_last:
        is_last, kind = bool(data[place] & _LAST), data[place] & ~_LAST
        end = place + 4 + int.from_bytes(data[place + 1 : place + 4])
        if end > len(data):
            raise Damaged("is FLAC that is cut off")
        if kind in {_STREAMINFO, _SEEKTABLE}:
            kept.append(bytes((kind,)) + data[place + 1 : end])
        place = end
    if not kept or kept[0][0] != _STREAMINFO:
        raise Damaged("is FLAC that does not say what sound it holds")
    kept[-1] = bytes((kept[-1][0] | _LAST,)) + kept[-1][1:]
    return b"".join((_SIGNATURE, *kept, data[place : id3.end_of(data)]))
