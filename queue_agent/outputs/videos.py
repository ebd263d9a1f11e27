"""Videos put into another container, encoded anew, and looked at, by PyAV (the extra ``video``).

Runs where a crash costs nothing. What can be copied is never encoded: docs/outputs.md says it for
users.
"""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from queue_agent.media.video_reader import FORMATS, opened
from queue_agent.outputs import pictures
from queue_agent.outputs.pictures import DecodedPicture
from queue_agent.wire.output import VIDEO_MEDIA_TYPES, VideoFormat

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

_MOST_PIXELS: Final = 4096 * 4096
"""Of a frame."""
_MOST_FRAMES: Final = 20_000
"""That are encoded anew."""
_MOST_SECONDS: Final = 600
_QUALITY: Final = 75
_MILLISECOND: Final = Fraction(1, 1000)
_A_FRAME: Final = 100
"""Milliseconds of one that says nothing, as browsers show it."""
_ABOUT_PROGRAMS: Final = frozenset(
    {"compatible_brands", "encoder", "major_brand", "minor_version", "handler_name", "vendor_id"}
)
"""Metadata that a container writes of itself."""
_COLOURS: Final = ("color_primaries", "color_range", "color_trc", "colorspace")
"""What tells players which colours are meant."""
_X264: Final = b"x264 - core "
_PRINTED: Final = frozenset(range(0x20, 0x7F))


class NotConverted(Exception):
    """It stays as it is. The message continues the file's name."""


@dataclass(frozen=True)
class _Container:
    videos: frozenset[str]
    """Codecs that are copied into it."""
    sounds: frozenset[str]
    encoder: str
    options: Mapping[str, str]
    crf: tuple[float, float]
    """The encoder's number for the worst quality, and what each step to a better one takes off."""
    sound_encoder: str
    rate: int | None
    """Samples a second of its sound; None: as many as before."""


_CONTAINERS: Final[dict[VideoFormat, _Container]] = {
    "mp4": _Container(
        frozenset({"av1", "h264", "hevc", "vp9"}),
        frozenset({"aac", "mp3", "opus"}),
        "libx264",
        {"preset": "veryfast", "x264-params": "rc-lookahead=10:sync-lookahead=0:bframes=0"},
        (51, 0.36),
        "aac",
        None,
    ),
    "webm": _Container(
        frozenset({"av1", "vp8", "vp9"}),
        frozenset({"opus", "vorbis"}),
        "libvpx-vp9",
        {"deadline": "realtime", "cpu-used": "6", "lag-in-frames": "0", "b": "0"},
        (63, 0.4),
        "libopus",
        48_000,
    ),
}


@dataclass(frozen=True)
class VideoTarget:
    """What a video is to become."""

    format: VideoFormat
    quality: int | None = None
    max_side: int | None = None
    carry: bool = False
    """With the metadata of the file before."""


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
        is_copied = _is_copied(_video_of(container), target)
    is_same = VIDEO_MEDIA_TYPES[target.format] == media_type
    return is_same and is_copied and (target.format != "mp4" or _starts_fast(source))


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
        encoder = _Encoder(made, target, picture.frames[0].size, rate, _MILLISECOND)
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
    if codec.width * codec.height > _MOST_PIXELS:
        raise NotConverted(f"has {codec.width} x {codec.height} pixels")
    return stream


def _is_copied(stream: Any, target: VideoTarget) -> bool:
    codec = stream.codec_context
    fits = target.max_side is None or max(codec.width, codec.height) <= target.max_side
    return fits and codec.codec.canonical_name in _CONTAINERS[target.format].videos


def _write(source: Any, made: Any, target: VideoTarget) -> None:
    """The first video and the first sound that there are."""
    video = _video_of(source)
    sound = next(iter(source.streams.audio), None)
    if target.carry:
        told = source.metadata.items()
        made.metadata.update({k: v for k, v in told if k.lower() not in _ABOUT_PROGRAMS})
    is_copied = _is_copied(video, target)
    lines: dict[int, _Copy | _Frames | _Sound] = {
        video.index: _Copy(made, video) if is_copied else _Frames(made, video, target),
    }
    if sound is not None and sound.codec_context is None:
        raise NotConverted("has sound of a codec that is not known here")
    if sound is not None:
        copied = sound.codec_context.codec.canonical_name in _CONTAINERS[target.format].sounds
        lines[sound.index] = _Copy(made, sound) if copied else _Sound(made, sound, target.format)
    for packet in source.demux([source.streams[index] for index in lines]):
        made.mux(lines[packet.stream.index].taken(packet))
    for line in lines.values():
        made.mux(line.rest())


class _Copy:
    """A stream as it is."""

    def __init__(self, made: Any, stream: Any) -> None:
        self._stream = made.add_stream_from_template(stream, opaque=True)
        self._untimed: list[Any] = []
        """The first packets, of which Matroska does not say when they are decoded."""

    def taken(self, packet: Any) -> list[Any]:
        if not packet.size:
            return []
        packet.stream = self._stream
        if packet.dts is None:
            self._untimed.append(packet)
            return []
        return [*self._timed(packet.dts), packet]

    def rest(self) -> list[Any]:
        return self._timed(None)

    def _timed(self, end: int | None) -> list[Any]:
        """Those that wait, decoded one after the other before that time."""
        packets, self._untimed = self._untimed, []
        step = max([packet.duration or 1 for packet in packets], default=1)
        if end is None:
            end = min((packet.pts or 0) for packet in packets) if packets else 0
        for place, packet in enumerate(reversed(packets), start=1):
            packet.dts = end - place * step
        return packets


class _Encoder:
    """Pictures that are encoded anew, of even sides and square pixels."""

    def __init__(
        self, made: Any, target: VideoTarget, size: tuple[int, int], rate: Fraction, unit: Fraction
    ) -> None:
        """`unit`: the seconds of a tick of their times."""
        container = _CONTAINERS[target.format]
        worst, step = container.crf
        crf = round(worst - step * (target.quality or _QUALITY))
        options = {**container.options, "crf": str(crf), "threads": "1", "flags": "+bitexact"}
        self._stream = made.add_stream(container.encoder, rate=rate, options=options)
        self._rate, self._seen = rate, 0
        self._size = width, height = _even(*size, target.max_side)
        if width * height > _MOST_PIXELS:
            raise NotConverted(f"would have {width} x {height} pixels")
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        self.codec: Any = self._stream.codec_context
        self.codec.time_base = unit
        self.codec.thread_count = 1

    def encoded(self, frame: Any) -> list[Any]:
        self._seen += 1
        if self._seen > _MOST_FRAMES or (frame.time or 0) > _MOST_SECONDS:
            raise NotConverted("is too long to be encoded anew")
        if frame.pts is None:
            frame.time_base, frame.pts = 1 / self._rate, self._seen - 1
        width, height = self._size
        small = frame.reformat(width=width, height=height, format="yuv420p")
        small.pts, small.time_base = frame.pts, frame.time_base
        small.pict_type = 0  # none: the encoder chooses
        return list(self._stream.encode(small))

    def rest(self) -> list[Any]:
        if not self._seen:
            raise NotConverted("has no frames")
        return list(self._stream.encode(None))


class _Frames:
    """A stream of pictures that are encoded anew."""

    def __init__(self, made: Any, stream: Any, target: VideoTarget) -> None:
        codec = stream.codec_context
        across = round(codec.width * (stream.sample_aspect_ratio or 1))  # as it is shown
        rate, unit = stream.average_rate or Fraction(25), stream.time_base
        self._encoder = _Encoder(made, target, (across, codec.height), rate, unit)
        for name in _COLOURS:
            if told := getattr(codec, name):
                setattr(self._encoder.codec, name, told)

    def taken(self, packet: Any) -> list[Any]:
        return [made for frame in packet.decode() for made in self._encoder.encoded(frame)]

    def rest(self) -> list[Any]:
        return self._encoder.rest()


class _Sound:
    """A stream of sound that is encoded anew, in two channels at most."""

    def __init__(self, made: Any, stream: Any, form: VideoFormat) -> None:
        import av  # noqa: PLC0415

        container = _CONTAINERS[form]
        rate = container.rate or stream.codec_context.sample_rate
        layout = "mono" if stream.codec_context.channels == 1 else "stereo"
        self._stream = made.add_stream(
            container.sound_encoder, rate=rate, layout=layout, options={"flags": "+bitexact"}
        )
        wanted = self._stream.codec_context
        self._samples: Any = av.AudioResampler(wanted.format, layout, rate)

    def taken(self, packet: Any) -> list[Any]:
        return [made for frame in packet.decode() for made in self._encoded(frame)]

    def rest(self) -> list[Any]:
        return [*self._encoded(None), *self._stream.encode(None)]

    def _encoded(self, frame: Any) -> list[Any]:
        found = self._samples.resample(frame)
        return [made for one in found if one is not None for made in self._stream.encode(one)]


def _picture(frame: Any, side: int | None = None) -> "Image":
    scale = min(1.0, side / max(frame.width, frame.height)) if side else 1.0
    width, height = (max(1, round(length * scale)) for length in (frame.width, frame.height))
    found: Image = frame.to_image(width=width, height=height)
    return found


def _even(width: int, height: int, side: int | None) -> tuple[int, int]:
    scale = min(1.0, side / max(width, height)) if side else 1.0
    across, down = (max(2, int(round(length * scale / 2) * 2)) for length in (width, height))
    return across, down


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
