"""Small real videos, and what becomes of them on the way."""

import functools
import io
import logging
import random
from array import array
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


SOUNDS = {
    "audio/mp4": ("ipod", "aac", "fltp"),
    "audio/mpeg": ("mp3", "mp3", "s16p"),
    "audio/x-wav": ("wav", "pcm_s16le", "s16"),
}
"""By media type, FFmpeg's format, encoder and form of samples."""


@functools.cache
def sound(media_type: str) -> bytes:
    """A second of noise and more."""
    form, codec, samples = SOUNDS[media_type]
    file, dice = io.BytesIO(), random.Random(7)  # noqa: S311
    frames: Any = av.AudioFrame
    with av.open(file, "w", format=form) as container:
        stream: Any = container.add_stream(codec, rate=16_000)
        stream.layout = "mono"
        for number in range(20):
            frame = frames(format=samples, layout="mono", samples=1024)
            loud = [dice.uniform(-0.5, 0.5) for _ in range(1024)]
            whole = array("h", [int(30_000 * one) for one in loud])
            plain = array("f", loud) if samples == "fltp" else whole
            frame.planes[0].update(plain.tobytes().ljust(frame.planes[0].buffer_size, b"\0"))
            frame.sample_rate, frame.pts = 16_000, number * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
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
