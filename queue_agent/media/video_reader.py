"""A program of its own: reads the video that is its standard input, and tells what it is.

On standard output a line of JSON, then its first frame as a JPEG. FFmpeg's C code meets bytes that
anybody may have made; so it does here, within limits that the process gives itself, and not in
the agent: whatever becomes of this process, the agent reads what it has written until then.

It imports nothing of the project, so that it may be started by its path: `read_video` does.
"""

import io
import json
import math
import os
import resource
import sys
from typing import Any, Final

_MEMORY: Final = 256 * 2**20
"""Bytes; the agent has 512 MiB with its own. A frame of 4K in H.264 fits, 16 of 8K do not."""
_SECONDS: Final = 20
"""Of one CPU."""
_OUTPUT: Final = 2**20
_MOST_PIXELS: Final = 4096 * 4096
_POSTER_SIDE: Final = 1280
_POSTER_QUALITY: Final = 85
_COUNTED: Final = 512 * 2**20
"""Bytes of a file up to which its frames are counted; beyond, its header is believed."""
_MOST_PACKETS: Final = 200_000


class _File(io.RawIOBase):
    """Standard input, read by place: others may read the same file meanwhile."""

    def __init__(self) -> None:
        self._place = 0
        self._size = os.fstat(0).st_size

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
        data = os.pread(0, len(buffer), self._place)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    @property
    def is_counted(self) -> bool:
        return self._size <= _COUNTED


def main(form: str) -> None:
    """Read a video of that format, by FFmpeg's name of it.

    Only that one: others (playlists, above all) name files and addresses that FFmpeg would open.
    """
    for limit, most in (
        (resource.RLIMIT_DATA, _MEMORY),
        (resource.RLIMIT_CPU, _SECONDS),
        (resource.RLIMIT_FSIZE, _OUTPUT),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    os.nice(10)
    import av  # noqa: PLC0415  within the limits

    av.logging.set_level(None)
    file = _File()
    opened: Any = av.open(file, format=form, metadata_errors="replace", buffer_size=2**18)
    with opened as container:
        stream = next(iter(container.streams.video), None)
        if stream is None:
            _tell({"duration": _seconds(container.duration, 1 / av.time_base)})
            return
        codec = stream.codec_context
        codec.thread_count = 1
        facts = {
            "width": codec.width,
            "height": codec.height,
            "codec": codec.codec.canonical_name,
            "fps": _number(stream.average_rate),
            "frames": stream.frames or None,
            "duration": _seconds(stream.duration, stream.time_base)
            or _seconds(container.duration, 1 / av.time_base),
        }
        if file.is_counted:
            facts |= _counted(container, stream)
        _tell(facts)
        if codec.width * codec.height <= _MOST_PIXELS:
            container.seek(0)
            sys.stdout.buffer.write(_poster(next(container.decode(stream))))
            sys.stdout.flush()


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


def _tell(facts: dict[str, Any]) -> None:
    known = {name: fact for name, fact in facts.items() if fact is not None}
    print(json.dumps(known), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
