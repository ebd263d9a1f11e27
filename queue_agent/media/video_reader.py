"""What a video is, and its first frame, by PyAV (the extra ``video``): for a process of its own.

It imports nothing else of the project, so that such a process starts soon: `read_video` starts it.
"""

import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

FORMATS: Final = {
    "video/3gpp": "3gp",
    "video/mp4": "mp4",
    "video/mpeg": "mpeg",
    "video/ogg": "ogg",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/x-m4v": "mp4",
    "video/x-matroska": "matroska",
    "video/x-msvideo": "avi",
}
"""FFmpeg's names; by media type; none of them leads to another file."""

_MOST_PIXELS: Final = 4096 * 4096
_POSTER_SIDE: Final = 1280
_POSTER_QUALITY: Final = 85
_COUNTED: Final = 512 * 2**20
"""Bytes of a file up to which its frames are counted; beyond, its header is believed."""
_MOST_PACKETS: Final = 200_000


class _File(io.RawIOBase):
    """An open file, read by place: others may read the same one meanwhile."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._place = 0
        self._size = os.fstat(descriptor).st_size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place}.get(whence, self._size)
        self._place = max(0, start + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        data = os.pread(self._descriptor, len(buffer), self._place)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    @property
    def is_counted(self) -> bool:
        return self._size <= _COUNTED


@contextmanager
def opened(file: Any, form: str) -> Iterator[Any]:
    """A video of that format, by FFmpeg's name of it.

    Only that one: others (playlists, above all) name files and addresses that FFmpeg would open.
    """
    import av  # noqa: PLC0415  an extra, and only where there are limits

    av.logging.set_level(None)
    container: Any = av.open(file, format=form, metadata_errors="replace", buffer_size=2**18)
    with container:
        yield container


def facts_in(descriptor: int, form: str) -> dict[str, float | str]:
    """What the video says of itself, and of that what its frames say better."""
    file = _File(descriptor)
    with opened(file, form) as container:
        stream = next(iter(container.streams.video), None)
        if stream is None:
            return _known({"duration": _seconds(container.duration, _OF_A_SECOND)})
        codec = stream.codec_context
        facts = {
            "width": codec.width,
            "height": codec.height,
            "codec": codec.codec.canonical_name,
            "fps": _number(stream.average_rate),
            "frames": stream.frames or None,
            "duration": _seconds(stream.duration, stream.time_base)
            or _seconds(container.duration, _OF_A_SECOND),
        }
        if file.is_counted:
            facts |= _counted(container, stream)
        return _known(facts)


def poster_of(descriptor: int, form: str) -> bytes | None:
    """The first frame, as a JPEG; None where it is too large, or there is none."""
    with opened(_File(descriptor), form) as container:
        stream = next(iter(container.streams.video), None)
        if stream is None:
            return None
        codec = stream.codec_context
        codec.thread_count = 1
        if codec.width * codec.height > _MOST_PIXELS:
            return None
        return _poster(next(container.decode(stream)))


_OF_A_SECOND: Final = 1e-6
"""FFmpeg's own unit of time."""


def _counted(container: Any, stream: Any) -> dict[str, float]:
    """Frames and seconds by what is really there, not by what a header promises."""
    frames, start, end = 0, math.inf, -math.inf
    for packet in container.demux(stream):
        if packet.size and packet.pts is not None:
            frames += 1
            start = min(start, packet.pts)
            end = max(end, packet.pts + (packet.duration or 0))
        if frames > _MOST_PACKETS:
            return {}
    if not frames:
        return {}
    seconds = float((end - start) * stream.time_base)
    return {"frames": frames, **({"duration": seconds} if seconds else {})}


def _poster(frame: Any) -> bytes:
    scale = min(1.0, _POSTER_SIDE / max(frame.width, frame.height))
    width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
    encoded = io.BytesIO()
    frame.to_image(width=width, height=height).save(encoded, "JPEG", quality=_POSTER_QUALITY)
    return encoded.getvalue()


def _seconds(ticks: Any, unit: Any) -> float | None:
    return _number(ticks * unit) if ticks and unit else None


def _number(value: Any) -> float | None:
    return float(value) if value else None


def _known(facts: dict[str, Any]) -> dict[str, float | str]:
    return {name: fact for name, fact in facts.items() if fact is not None}
