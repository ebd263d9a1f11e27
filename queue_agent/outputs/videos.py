"""Videos put into another container, encoded anew, and looked at, by PyAV (the extra ``video``).

Runs where a crash costs nothing. What can be copied is never encoded: docs/outputs.md says it for
users.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from queue_agent.media.video_reader import FORMATS, opened
from queue_agent.outputs import pictures
from queue_agent.outputs.pictures import DecodedPicture
from queue_agent.outputs.video_streams import (
    CONTAINERS,
    MOST_PIXELS,
    Copy,
    Encoder,
    Frames,
    NotConverted,
    Sound,
    VideoTarget,
    is_copied,
)
from queue_agent.wire.output import VIDEO_MEDIA_TYPES

if TYPE_CHECKING:
    from PIL.Image import Image

ANIMATED_MEDIA_TYPE: Final = "image/webp"
ANIMATED_SIDE: Final = 320
"""Pixels of the longer side of a thumbnail that moves, at most."""
LARGEST_ANIMATED: Final = 512 * 1024
"""Bytes of one, but for noise."""
_SHOWN_SECONDS: Final = 4
_SHOWN_FPS: Final = 10
_SHOWN_QUALITIES: Final = (60, 30, 8)
"""Tried one after another."""

_MILLISECOND: Final = Fraction(1, 1000)
_A_FRAME: Final = 100
"""Milliseconds of one that says nothing, as browsers show it."""
_ABOUT_PROGRAMS: Final = frozenset(
    {"compatible_brands", "encoder", "major_brand", "minor_version", "handler_name", "vendor_id"}
)
"""Metadata that a container writes of itself."""
_X264: Final = b"x264 - core "
_PRINTED: Final = frozenset(range(0x20, 0x7F))


def can_be_read(media_type: str) -> bool:
    """Whether videos of the type are read here."""
    return media_type in FORMATS and can_be_made()


def can_be_made() -> bool:
    """Whether there is PyAV."""
    return importlib.util.find_spec("av") is not None


def is_larger(source: Path, media_type: str, side: int) -> bool:
    """Whether a side of the video has more pixels than that; raises `NotConverted`."""
    with _reading(source, media_type) as container:
        codec = _video_of(container).codec_context
        return bool(max(codec.width, codec.height) > side)


def has_format(source: Path, media_type: str, target: VideoTarget) -> bool:
    """Whether the video needs no change, and is played before all of it is there.

    Raises:
        NotConverted: it cannot be read.
    """
    with _reading(source, media_type) as container:
        copies = is_copied(_video_of(container), target)
    is_same = VIDEO_MEDIA_TYPES[target.format] == media_type
    return is_same and copies and (target.format != "mp4" or _starts_fast(source))


def convert(source: Path, path: Path, media_type: str, target: VideoTarget) -> None:
    """Write the video to a file as it is to be; frames are encoded only where they must be.

    Raises:
        NotConverted: it cannot be read, it is too much, or an encoder refuses.
    """
    with _reading(source, media_type) as container, _writing(path, target) as made:
        _write(container, made, target)


def film(picture: DecodedPicture, path: Path, target: VideoTarget) -> None:
    """Write a picture that moves to a file, as a video; white shows through.

    Raises:
        NotConverted: it is too much, or an encoder refuses.
    """
    import av  # noqa: PLC0415  an extra

    frame_of: Any = av.VideoFrame.from_image
    durations = [duration or _A_FRAME for duration in picture.durations]
    rate, time = Fraction(1000, min(durations)).limit_denominator(1000), 0
    with _writing(path, target) as made:
        encoder = Encoder(made, target, picture.frames[0].size, rate, _MILLISECOND)
        for image, duration in zip(picture.frames, durations, strict=True):
            frame = frame_of(pictures.on_paper(image))
            frame.pts, frame.time_base = time, _MILLISECOND
            made.mux(encoder.encoded(frame))
            time += duration
        made.mux(encoder.rest())


def first_frame(source: Path, media_type: str) -> "Image":
    """Its first frame; raises `NotConverted`."""
    with _reading(source, media_type) as container, _faults():
        for frame in container.decode(_video_of(container)):
            return _picture(frame)
        raise NotConverted("has no frames")


def animated_thumbnail(source: Path, media_type: str) -> bytes:
    """An animated WebP of how it begins; raises `NotConverted`."""
    frames: list[Image] = []
    with _reading(source, media_type) as container, _faults():
        stream = _video_of(container)
        start = None
        for frame in container.decode(stream):
            time = frame.time or 0.0
            start = time if start is None else start
            if time - start >= _SHOWN_SECONDS or len(frames) >= _SHOWN_SECONDS * _SHOWN_FPS:
                break
            if time - start >= len(frames) / _SHOWN_FPS:
                frames.append(_picture(frame, ANIMATED_SIDE))
    if not frames:
        raise NotConverted("has no frames")
    picture = DecodedPicture(tuple(frames), durations=(1000 // _SHOWN_FPS,) * len(frames))
    for quality in _SHOWN_QUALITIES:
        data, _ = pictures.encoded(picture, ANIMATED_MEDIA_TYPE, quality=quality)
        if len(data) <= LARGEST_ANIMATED:
            break
    return data


@contextmanager
def _reading(source: Path, media_type: str) -> Iterator[Any]:
    with source.open("rb") as file, _faults(), opened(file, FORMATS[media_type]) as container:
        yield container


@contextmanager
def _writing(path: Path, target: VideoTarget) -> Iterator[Any]:
    import av  # noqa: PLC0415

    options = {"fflags": "+bitexact"}
    if target.format == "mp4":
        options["movflags"] = "+faststart" + ("+use_metadata_tags" if target.carry else "")
    with _faults():
        made: Any = av.open(str(path), "w", format=target.format, options=options)
        with made:
            yield made
    if target.format == "mp4" and not target.carry:
        _forget_encoder(path)


@contextmanager
def _faults() -> Iterator[None]:
    """What FFmpeg says as what is told of the file."""
    import av  # noqa: PLC0415

    try:
        yield
    except av.FFmpegError as error:
        raise NotConverted(f"cannot be converted here ({error.strerror})") from error


def _video_of(container: Any) -> Any:
    stream = next(iter(container.streams.video), None)
    if stream is None or stream.codec_context is None:
        raise NotConverted("shows nothing, or of a codec that is not known here")
    codec = stream.codec_context
    codec.thread_count = 1
    if codec.width * codec.height > MOST_PIXELS:
        raise NotConverted(f"has {codec.width} x {codec.height} pixels")
    return stream


def _write(source: Any, made: Any, target: VideoTarget) -> None:
    """The first video and the first sound that there are."""
    video = _video_of(source)
    sound = next(iter(source.streams.audio), None)
    if target.carry:
        told = source.metadata.items()
        made.metadata.update({k: v for k, v in told if k.lower() not in _ABOUT_PROGRAMS})
    copies = is_copied(video, target)
    lines: dict[int, Copy | Frames | Sound] = {
        video.index: Copy(made, video) if copies else Frames(made, video, target),
    }
    if sound is not None and sound.codec_context is None:
        raise NotConverted("has sound of a codec that is not known here")
    if sound is not None:
        copied = sound.codec_context.codec.canonical_name in CONTAINERS[target.format].sounds
        lines[sound.index] = Copy(made, sound) if copied else Sound(made, sound, target.format)
    for packet in source.demux([source.streams[index] for index in lines]):
        made.mux(lines[packet.stream.index].taken(packet))
    for line in lines.values():
        made.mux(line.rest())


def _picture(frame: Any, side: int | None = None) -> "Image":
    scale = min(1.0, side / max(frame.width, frame.height)) if side else 1.0
    width, height = (max(1, round(length * scale)) for length in (frame.width, frame.height))
    found: Image = frame.to_image(width=width, height=height)
    return found


def _starts_fast(path: Path) -> bool:
    """Whether a player knows what is in the file before it has read all of it."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        place = 0
        while place + 8 <= len(content):
            size = int.from_bytes(content[place : place + 4])
            name = content[place + 4 : place + 8]
            if name in {b"moov", b"mdat"}:
                return name == b"moov"
            if size == 1:
                size = int.from_bytes(content[place + 8 : place + 16])
            if size < 8:
                break
            place += size
    return True


def _forget_encoder(path: Path) -> None:
    """x264 writes its name and all its options beside the first picture: blanks, then."""
    with path.open("r+b") as file, mmap(file.fileno(), 0) as content:
        place = content.find(_X264)
        while 0 <= place < len(content) and content[place] in _PRINTED:
            content[place] = 0x20
            place += 1
