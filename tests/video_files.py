"""Small real videos, and what becomes of them on the way."""

import functools
import io
import logging
from typing import Any

import av
from PIL import Image, ImageDraw

SIZE = (64, 48)
FRAMES = 12
FPS = 8
"""Of all of them: 1.5 seconds."""

KINDS = {
    "mp4": ("mp4", "libx264", "video/mp4", "h264"),
    "mp4, av1": ("mp4", "libsvtav1", "video/mp4", "av1"),
    "webm": ("webm", "libvpx-vp9", "video/webm", "vp9"),
    "matroska": ("matroska", "libx264", "video/x-matroska", "h264"),
    "quicktime": ("mov", "libx264", "video/quicktime", "h264"),
    "avi": ("avi", "mpeg4", "video/x-msvideo", "mpeg4"),
}
"""FFmpeg's format and encoder, our media type, and the codec."""


@functools.cache
def video(
    kind: str = "mp4", size: tuple[int, int] = SIZE, options: str = "", frames: int = FRAMES
) -> bytes:
    """A green square that crosses a red picture; `options` are of the format: `a=b`."""
    logging.getLogger("libav").setLevel(logging.CRITICAL)
    form, codec, _, _ = KINDS[kind]
    file = io.BytesIO()
    chosen = dict([options.split("=")]) if options else {}
    with av.open(file, "w", format=form, options=chosen) as container:
        stream: Any = container.add_stream(codec, rate=FPS)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        for number in range(frames):
            frame = _frame(_picture(size, number))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def _frame(picture: Image.Image) -> Any:
    made: Any = av.VideoFrame
    return made.from_image(picture)


def _picture(size: tuple[int, int], number: int) -> Image.Image:
    picture = Image.new("RGB", size, (200, 30, 20))
    corner = number * 4
    ImageDraw.Draw(picture).rectangle((corner, 10, corner + 12, 30), fill=(20, 200, 30))
    return picture


def box(data: bytes, name: bytes) -> int:
    """Where the contents of the first box of that name begin (ISO/IEC 14496-12, 4.2)."""
    return data.index(name) + 4


def lying(data: bytes, name: bytes, place: int, value: bytes) -> bytes:
    """The file with other bytes at a place in a box."""
    start = box(data, name) + place
    return data[:start] + value + data[start + len(value) :]
