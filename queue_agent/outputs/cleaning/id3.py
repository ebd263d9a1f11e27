"""MP3 with its tags: https://id3.org/id3v2.4.0-structure, https://id3.org/ID3v1, and APE's:
https://wiki.hydrogenaudio.org/index.php?title=APEv2_specification"""

from typing import Final

from queue_agent.media.signatures import sniff
from queue_agent.outputs.cleaning.damage import Damaged
from queue_agent.wire.output import MetadataRule

_HEADER: Final = 10
_HAS_FOOTER: Final = 0x10
_OLD: Final = 128
"""Bytes of a tag of the first version, which stands at the end."""
_ENHANCED: Final = 227
_APE: Final = 32
"""Bytes of the footer of an APE tag."""
_LYRICS: Final = b"LYRICS200"


def cleaned(data: bytes, rule: MetadataRule) -> bytes:
    """The sound alone; it is not marked."""
    if rule == "keep":
        return data
    place = 0
    while data.startswith(b"ID3", place):
        has_footer = data[place + 5] & _HAS_FOOTER
        place += _HEADER + _syncsafe(data, place + 6) + (_HEADER if has_footer else 0)
    end = end_of(data)
    while place < end and not data[place]:  # which some writers leave after their tag
        place += 1
    sound = data[place:end]
    if sniff(sound) != "audio/mpeg" or sound.startswith(b"ID3"):
        raise Damaged("has tags, and no MPEG sound after them")
    return sound


def end_of(data: bytes) -> int:
    """Where sound ends, before the tags that follow it."""
    end = len(data)
    while (before := _before_tag(data, end)) != end:
        end = before
    return end


def _before_tag(data: bytes, end: int) -> int:
    if data.startswith(b"TAG", max(0, end - _OLD), end):
        return end - _OLD
    if data.startswith(b"TAG+", max(0, end - _ENHANCED), end):
        return end - _ENHANCED
    if data.startswith(b"3DI", max(0, end - _HEADER), end):
        return max(0, end - 2 * _HEADER - _syncsafe(data, end - 4))
    if data.startswith(_LYRICS, max(0, end - len(_LYRICS)), end):
        told = data[end - len(_LYRICS) - 6 : end - len(_LYRICS)]
        return max(0, end - len(_LYRICS) - 6 - max(0, int(told)))
    if data.startswith(b"APETAGEX", max(0, end - _APE), end):
        size = int.from_bytes(data[end - 20 : end - 16], "little")
        has_header = data[end - 9] & 0x80
        return max(0, end - size - (_APE if has_header else 0))
    return end


def _syncsafe(data: bytes, place: int) -> int:
    size = 0
    for byte in data[place : place + 4].ljust(4, b"\0"):
        size = size << 7 | byte & 0x7F
    return size
