"""Streams of a video on their way into another container: copied, or encoded anew by PyAV."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from queue_agent.wire.output import VideoFormat

MOST_PIXELS: Final = 4096 * 4096
"""Of a frame."""
_MOST_FRAMES: Final = 20_000
"""That are encoded anew."""
_MOST_SECONDS: Final = 600
_QUALITY: Final = 75
_COLOURS: Final = ("color_primaries", "color_range", "color_trc", "colorspace")
"""What tells players which colours are meant."""


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


CONTAINERS: Final[dict[VideoFormat, _Container]] = {
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


def is_copied(stream: Any, target: VideoTarget) -> bool:
    """Whether a stream of pictures need not be encoded anew."""
    codec = stream.codec_context
    fits = target.max_side is None or max(codec.width, codec.height) <= target.max_side
    return fits and codec.codec.canonical_name in CONTAINERS[target.format].videos


class Copy:
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


class Encoder:
    """Pictures that are encoded anew, of even sides and square pixels."""

    def __init__(
        self, made: Any, target: VideoTarget, size: tuple[int, int], rate: Fraction, unit: Fraction
    ) -> None:
        """`unit`: the seconds of a tick of their times."""
        container = CONTAINERS[target.format]
        worst, step = container.crf
        crf = round(worst - step * (target.quality or _QUALITY))
        options = {**container.options, "crf": str(crf), "threads": "1", "flags": "+bitexact"}
        self._stream = made.add_stream(container.encoder, rate=rate, options=options)
        self._rate, self._seen = rate, 0
        self._size = width, height = _even(*size, target.max_side)
        if width * height > MOST_PIXELS:
            raise NotConverted(f"would have {width} x {height} pixels")
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        self.codec: Any = self._stream.codec_context
        self.codec.time_base = unit
        self.codec.thread_count = 1

    def encoded(self, frame: Any) -> list[Any]:
        """The packets that are there after a frame; raises `NotConverted`."""
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
        """Those that are left at the end; raises `NotConverted`."""
        if not self._seen:
            raise NotConverted("has no frames")
        return list(self._stream.encode(None))


class Frames:
    """A stream of pictures that are encoded anew."""

    def __init__(self, made: Any, stream: Any, target: VideoTarget) -> None:
        codec = stream.codec_context
        across = round(codec.width * (stream.sample_aspect_ratio or 1))  # as it is shown
        rate, unit = stream.average_rate or Fraction(25), stream.time_base
        self._encoder = Encoder(made, target, (across, codec.height), rate, unit)
        for name in _COLOURS:
            if told := getattr(codec, name):
                setattr(self._encoder.codec, name, told)

    def taken(self, packet: Any) -> list[Any]:
        return [made for frame in packet.decode() for made in self._encoder.encoded(frame)]

    def rest(self) -> list[Any]:
        return self._encoder.rest()


class Sound:
    """A stream of sound that is encoded anew, in two channels at most."""

    def __init__(self, made: Any, stream: Any, form: VideoFormat) -> None:
        import av  # noqa: PLC0415

        container = CONTAINERS[form]
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


def _even(width: int, height: int, side: int | None) -> tuple[int, int]:
    scale = min(1.0, side / max(width, height)) if side else 1.0
    across, down = (max(2, int(round(length * scale / 2) * 2)) for length in (width, height))
    return across, down
