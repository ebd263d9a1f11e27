"""What the headers of MP4 and WebM files say of their video, read without decoding anything.

Only what stands at the begin of a box or an element is read, so that a header's lies cost nothing.
"""

import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, NamedTuple

from queue_agent.media.video_facts import VideoFacts, sensible

_MOST_BOXES: Final = 10_000
"""That are looked at of one file."""
_CODECS: Final = {  # https://mp4ra.org/registered-types/codecs; Matroska's names of them
    "avc1": "h264", "avc3": "h264", "hvc1": "hevc", "hev1": "hevc", "av01": "av1", "vp08": "vp8",
    "vp09": "vp9", "mp4v": "mpeg4", "V_MPEG4/ISO/AVC": "h264", "V_MPEGH/ISO/HEVC": "hevc",
    "V_AV1": "av1", "V_VP8": "vp8", "V_VP9": "vp9", "V_MPEG4/ISO/ASP": "mpeg4",
}  # fmt: skip


class _Part(NamedTuple):
    """A box or an element: its name, and where its contents begin and end."""

    name: bytes
    start: int
    end: int


def has_headers(media_type: str) -> bool:
    """Whether files of that type have headers that are read here."""
    return media_type in _READERS


def headers_of(file: BinaryIO, media_type: str) -> VideoFacts | None:
    """What they say; None: of no video."""
    try:
        told = _READERS[media_type](file)
    except (struct.error, IndexError, UnicodeDecodeError, ZeroDivisionError, OverflowError):
        return None
    return sensible(told) if told else None


def _of_boxes(file: BinaryIO) -> dict[str, object]:
    """ISO/IEC 14496-12: 8.2.2, 8.3.2, 8.4.2, 8.4.3, 8.5.2 and 8.7.3, and 12.1.3 of pictures."""
    boxes = _Boxes(file)
    for movie in boxes.within(None, b"moov"):
        for track in boxes.within(movie, b"trak"):
            media = next(boxes.within(track, b"mdia"), None)
            if media is None or boxes.body(media, b"hdlr")[8:12] != b"vide":
                continue
            table = next(boxes.path(media, b"minf", b"stbl"), None)
            entry = boxes.body(table, b"stsd")[8:] if table else b""
            if len(entry) < 36:
                continue
            (width, height), code = struct.unpack(">HH", entry[32:36]), entry[4:8].decode("latin-1")
            seconds = _duration(boxes.body(media, b"mdhd")) or _duration(boxes.body(movie, b"mvhd"))
            frames = struct.unpack(">I", boxes.body(table, b"stsz")[8:12])[0] if table else 0
            return {
                "width": width,
                "height": height,
                "codec": _CODECS.get(code),
                "duration": seconds,
                "frames": frames or None,
                "fps": frames / seconds if frames and seconds else None,
            }
    return {}


def _duration(header: bytes) -> float | None:
    """Of a movie's or a track's header, whose version says how wide its fields are."""
    form, place = (">IQ", 20) if header[:1] == b"\1" else (">II", 12)
    if len(header) < place + struct.calcsize(form):
        return None
    scale, ticks = struct.unpack_from(form, header, place)
    is_told = scale and ticks and ticks not in {2**32 - 1, 2**64 - 1}
    return ticks / scale if is_told else None


class _Boxes:
    """Boxes by their names (ISO/IEC 14496-12, 4.2)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._end = file.seek(0, 2)
        self._left = _MOST_BOXES

    def within(self, outer: _Part | None, name: bytes) -> Iterator[_Part]:
        place, end = (outer.start, outer.end) if outer else (0, self._end)
        while place + 8 <= end and self._left > 0:
            self._left -= 1
            head = _at(self._file, place, 16)
            length, start = int.from_bytes(head[:4]), place + 8
            if length == 1:
                length, start = int.from_bytes(head[8:16]), place + 16
            following = end if length == 0 else place + length
            if following < start:
                return
            if head[4:8] == name:
                yield _Part(name, start, min(following, end))
            place = following

    def path(self, outer: _Part, name: bytes, *names: bytes) -> Iterator[_Part]:
        for found in self.within(outer, name):
            yield from self.path(found, *names) if names else (found,)

    def body(self, outer: _Part, name: bytes) -> bytes:
        """The begin of the first such box's contents; empty where there is none."""
        found = next(self.within(outer, name), None)
        return _at(self._file, found.start, min(64, found.end - found.start)) if found else b""


_SEGMENT: Final = 0x18538067
_INFO: Final = 0x1549A966
_SCALE: Final = 0x2AD7B1
_DURATION: Final = 0x4489
_TRACKS: Final = 0x1654AE6B
_TRACK: Final = 0xAE
_KIND: Final = 0x83
_CODEC: Final = 0x86
_FRAME: Final = 0x23E383
_VIDEO: Final = 0xE0
_WIDTH: Final = 0xB0
_HEIGHT: Final = 0xBA
_CLUSTER: Final = 0x1F43B675


def _of_elements(file: BinaryIO) -> dict[str, object]:
    """RFC 9559, section 5.1: what stands before the first cluster."""
    elements = _Elements(file)
    segment = elements.named(_SEGMENT)
    info = elements.named(_INFO, within=segment) if segment else None
    tracks = elements.named(_TRACKS, within=segment) if segment else None
    if tracks is None:
        return {}
    for track in elements.all(tracks):
        if elements.number(track, _KIND) != 1:
            continue
        video = elements.named(_VIDEO, within=track)
        frame = elements.number(track, _FRAME)
        scale = (elements.number(info, _SCALE) if info else 0) or 1_000_000
        ticks = elements.decimal(info, _DURATION) if info else None
        return {
            "width": elements.number(video, _WIDTH) if video else None,
            "height": elements.number(video, _HEIGHT) if video else None,
            "codec": _CODECS.get(elements.body(track, _CODEC).rstrip(b"\0").decode("latin-1")),
            "duration": ticks * scale / 1e9 if ticks else None,
            "fps": 1e9 / frame if frame else None,
        }
    return {}


class _Elements:
    """Elements by their numbers (RFC 8794, section 6)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._end = file.seek(0, 2)
        self._left = _MOST_BOXES

    def all(self, outer: _Part | None = None) -> Iterator[_Part]:
        place, end = (outer.start, outer.end) if outer else (0, self._end)
        while place < end and self._left > 0:
            self._left -= 1
            head = _at(self._file, place, 16)
            long_name = 9 - head[0].bit_length()
            long_size = 9 - head[long_name].bit_length()
            size = int.from_bytes(head[long_name : long_name + long_size])
            size &= (1 << 7 * long_size) - 1
            start = place + long_name + long_size
            is_open = size == (1 << 7 * long_size) - 1
            following = end if is_open else start + size
            name = head[:long_name]
            if int.from_bytes(name) == _CLUSTER:
                return
            yield _Part(name, start, min(following, end))
            place = following

    def named(self, number: int, within: _Part | None = None) -> _Part | None:
        parts = self.all(within)
        return next((part for part in parts if int.from_bytes(part.name) == number), None)

    def body(self, outer: _Part, number: int) -> bytes:
        found = self.named(number, within=outer)
        return _at(self._file, found.start, min(64, found.end - found.start)) if found else b""

    def number(self, outer: _Part, number: int) -> int:
        """0 where it is absent."""
        return int.from_bytes(self.body(outer, number)[:8])

    def decimal(self, outer: _Part, number: int) -> float | None:
        body = self.body(outer, number)
        form = {4: ">f", 8: ">d"}.get(len(body))
        return float(struct.unpack(form, body)[0]) if form else None


def _at(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)


_READERS: Final[dict[str, Callable[[BinaryIO], dict[str, object]]]] = {
    "video/3gpp": _of_boxes,
    "video/mp4": _of_boxes,
    "video/quicktime": _of_boxes,
    "video/x-m4v": _of_boxes,
    "video/webm": _of_elements,
    "video/x-matroska": _of_elements,
}
