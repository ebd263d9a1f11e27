"""Pictures decoded, made smaller and encoded anew. Runs where a crash costs nothing.

What formats cannot hold is decided here, on purpose: docs/outputs.md says it for users.
"""

import io
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from queue_agent.media.facts import MAX_PIXELS, TooManyPixels

if TYPE_CHECKING:
    from PIL.Image import Exif, Image
    from PIL.ImageFile import ImageFile


class NotEncoded(Exception):
    """An encoder does not take a picture. The message continues the file's name."""


THUMBNAIL_SIDE: Final = 512
"""Pixels of a thumbnail's longer side, at most."""

LARGEST_THUMBNAIL: Final = 16 * 1024
"""Bytes of a thumbnail, but for noise: fifty of them are less than a megabyte."""
_THUMBNAIL_QUALITIES: Final = (75, 50, 25, 8)
"""Tried one after another."""
_QUALITY: Final = {"image/webp": 90, "image/jpeg": 90, "image/avif": 75}
_EFFORTS: Final = {
    "image/avif": {"speed": 8, "max_threads": 1},
    "image/webp": {"method": 2},
}
"""An eighth and a half of the time that the defaults take, for files of the same size."""
_NAMES: Final = {
    "image/apng": "PNG",
    "image/avif": "AVIF",
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WEBP",
}
_MOVING: Final = frozenset({"image/apng", "image/avif", "image/webp"})
MOVING: Final = _MOVING | {"image/gif"}
"""Media types of images that may move."""
_SPACES: Final = {"L": b"GRAY", "LA": b"GRAY", "I;16": b"GRAY"}
"""What a colour profile says it is of (ICC.1:2022, 7.2.6), by mode."""
_PAPER: Final = (255, 255, 255)
"""What shows through where a format knows no transparency."""
_REFUSALS: Final = (
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    ValueError,
    struct.error,
)
"""What Pillow's encoders of these formats raise: sizes that a field does not hold, too much beside
the picture, and the words of libwebp, libavif, libjpeg and zlib. Anything else is a fault of ours.
"""
_USER_COMMENT, _EXIF_IFD, _MODEL, _ORIENTATION = 0x9286, 0x8769, 0x0110, 0x0112


@dataclass(frozen=True)
class DecodedPicture:
    """A decoded picture, upright, and what its file said beside it."""

    frames: tuple["Image", ...]
    """One, or those of one that moves, each whole; of modes L, LA, RGB, RGBA or I;16."""
    icc: bytes | None = None
    durations: tuple[int, ...] = ()
    """Of the frames, in milliseconds."""
    plays: int = 0
    """How often it is shown, 0 for ever."""
    exif: "Exif | None" = field(default=None, repr=False)
    xmp: bytes | None = field(default=None, repr=False)
    texts: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def moves(self) -> bool:
        return len(self.frames) > 1

    def smaller(self, side: int) -> "DecodedPicture":
        """The same with a longer side of no more than so many pixels."""
        return replace(self, frames=tuple(_smaller(frame, side) for frame in self.frames))


def decoded(image: "ImageFile", *, deep: bool, still: bool = False) -> DecodedPicture:
    """All of an image whose header is read, or if `still` its first frame.

    `deep`: grey of 16 bits stays so.

    Raises:
        TooManyPixels: it would not fit into memory.
    """
    from PIL import ImageOps  # noqa: PLC0415  most commands decode nothing

    count = 1 if still else getattr(image, "n_frames", 1)
    if image.width * image.height * count > MAX_PIXELS:
        raise TooManyPixels(f"has {image.width} x {image.height} x {count} pixels")
    if count > 1:
        return _moving(image, count)
    image.load()
    texts = _texts(image)
    upright = ImageOps.exif_transpose(image)
    frame, icc = _plain(upright, image.info.get("icc_profile"), deep=deep)
    exif, xmp = upright.getexif(), _bytes(upright.info.get("xmp"))
    return DecodedPicture((_bare(frame),), icc, exif=exif or None, xmp=xmp, texts=texts)


def _bare(frame: "Image") -> "Image":
    """Without what encoders would write by themselves."""
    frame.info = {}
    return frame


def _moving(image: "ImageFile", count: int) -> DecodedPicture:
    frames, durations = [], []
    icc = image.info.get("icc_profile")
    for number in range(count):
        image.seek(number)
        image.load()
        frames.append(_bare(image.convert("RGBA")))
        durations.append(round(image.info.get("duration") or 0))
    if all(frame.getchannel("A").getextrema() == (255, 255) for frame in frames):
        frames = [frame.convert("RGB") for frame in frames]
    plays = image.info.get("loop")
    if image.format == "GIF":  # which says how often more
        plays = 1 if plays is None else plays and plays + 1
    return DecodedPicture(tuple(frames), icc, tuple(durations), plays or 0)


def says_anything(image: "ImageFile") -> bool:
    """Whether an image that moves holds texts beside the picture."""
    return any(image.info.get(name) for name in ("exif", "xmp", "comment")) or bool(_texts(image))


def can_move(media_type: str) -> bool:
    """Whether files of the type may hold more than one frame."""
    return media_type in _MOVING


def encoded(
    picture: DecodedPicture,
    media_type: str,
    *,
    quality: int | None = None,
    lossless: bool = False,
    carry: bool = False,
) -> tuple[bytes, str | None]:
    """A file of the type, and words on what it could not carry.

    `carry`: with what the picture's file said beside it, as far as the format has a place.

    Raises:
        NotEncoded: it is too large for the type, or for the memory.
    """
    frames = picture.frames if media_type in _MOVING else picture.frames[:1]
    frames = tuple(_for(frame, media_type, picture.icc) for frame in frames)
    options: dict[str, Any] = _options(media_type, quality, lossless=lossless)
    if picture.icc and picture.icc[16:20] == _SPACES.get(frames[0].mode, b"RGB "):
        options["icc_profile"] = picture.icc
    if len(frames) > 1:
        options |= {
            "save_all": True,
            "append_images": frames[1:],
            "duration": list(picture.durations),
            "loop": picture.plays,
        }
    carried = _carried(picture, media_type) if carry else {}
    try:
        return _saved(frames[0], media_type, options | carried), None
    except NotEncoded:
        if not carried:
            raise
        words = f"keeps not what stood beside its picture: there is no room for it in {media_type}"
        return _saved(frames[0], media_type, options), words


def thumbnail(picture: DecodedPicture) -> bytes:
    """A small WebP of it, of the first frame of one that moves, with nothing beside it."""
    small = DecodedPicture(picture.frames[:1], picture.icc).smaller(THUMBNAIL_SIDE)
    for quality in _THUMBNAIL_QUALITIES:
        data, _ = encoded(small, "image/webp", quality=quality)
        if len(data) <= LARGEST_THUMBNAIL:
            break
    return data


def _saved(frame: "Image", media_type: str, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    try:
        frame.save(file, _NAMES[media_type], **options)
    except _REFUSALS as error:
        raise NotEncoded(f"cannot be made {media_type}") from error
    return file.getvalue()


def _options(media_type: str, quality: int | None, *, lossless: bool) -> dict[str, Any]:
    if media_type == "image/webp" and lossless:
        return {"lossless": True, "exact": True, "method": 4, "quality": 60}
    if media_type not in _QUALITY:
        return {}
    return {"quality": quality or _QUALITY[media_type], **_EFFORTS.get(media_type, {})}


def _smaller(frame: "Image", side: int) -> "Image":
    from PIL.Image import Resampling  # noqa: PLC0415

    longest = max(frame.size)
    if longest <= side:
        return frame
    width, height = (max(1, round(one * side / longest)) for one in frame.size)
    gap = None if frame.mode == "I;16" else 3.0
    return frame.resize((width, height), Resampling.LANCZOS, reducing_gap=gap)


def _plain(image: "Image", icc: bytes | None, *, deep: bool) -> tuple["Image", bytes | None]:
    """In a mode that formats share, with a colour profile that fits it."""
    mode = image.mode
    if mode.startswith("I;16"):
        wide = image.convert("I")
        found = wide.convert("I;16") if deep else wide.point(_HIGH_BYTES, "L")
    elif mode == "I":  # as some files of 16 bits are read
        found = image.point(_high_byte).convert("L")
    elif mode in {"1", "F"}:
        found = image.convert("L")
    elif image.has_transparency_data and mode != "LA":
        found = image.convert("RGBA")
    elif mode in {"L", "LA", "RGB"}:
        found = image
    elif mode == "CMYK":
        found, icc = _seen_through(image, icc), None
    else:
        found = image.convert("RGB")
    return found, icc


def _seen_through(image: "Image", icc: bytes | None) -> "Image":
    """In RGB, as its profile says that it looks; else as is usual for its mode."""
    from PIL import ImageCms  # noqa: PLC0415

    if icc:
        with suppress(ImageCms.PyCMSError, OSError, ValueError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            found = ImageCms.profileToProfile(
                image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            if found is not None:
                return found
    return image.convert("RGB")


def _for(frame: "Image", media_type: str, icc: bytes | None) -> "Image":
    """The frame in a mode that files of the type can have."""
    if media_type in {"image/png", "image/apng"}:
        return frame
    if media_type == "image/jpeg":
        return on_paper(frame) if frame.mode in {"LA", "RGBA"} else frame
    if frame.mode == "L":
        return _seen_through(frame, icc)
    if frame.mode == "LA":
        seen = _seen_through(frame.getchannel("L"), icc)
        seen.putalpha(frame.getchannel("A"))
        return seen
    return frame


def on_paper(frame: "Image") -> "Image":
    """In RGB, on white where it is transparent."""
    from PIL import Image  # noqa: PLC0415

    frame = frame.convert("RGBA")
    paper = Image.new("RGBA", frame.size, (*_PAPER, 255))
    return Image.alpha_composite(paper, frame).convert("RGB")


def _texts(image: "ImageFile") -> tuple[tuple[str, str], ...]:
    found = getattr(image, "text", None) or {}
    return tuple(
        (str(name), str(text)) for name, text in found.items() if name != "XML:com.adobe.xmp"
    )


def _carried(picture: DecodedPicture, media_type: str) -> dict[str, Any]:
    """Options by which a file gets what the one before said."""
    from PIL import Image  # noqa: PLC0415
    from PIL.PngImagePlugin import PngInfo  # noqa: PLC0415

    exif = picture.exif or Image.Exif()
    exif.pop(_ORIENTATION, None)  # it is upright now
    if media_type in {"image/png", "image/apng"}:
        info = PngInfo()
        for name, text in picture.texts:
            info.add_itxt(name, text)
        if picture.xmp:
            info.add_itxt("XML:com.adobe.xmp", picture.xmp.decode(errors="replace"))
        return {"pnginfo": info} | ({"exif": exif} if exif else {})
    _tell(exif, picture.texts)
    options: dict[str, Any] = {"exif": exif.tobytes()} if exif else {}
    return options | ({"xmp": picture.xmp} if picture.xmp else {})


def _tell(exif: "Exif", texts: Sequence[tuple[str, str]]) -> None:
    """Texts of a PNG, where the runtimes themselves put them in files of other formats.

    The Web UI's infotext in the user's comment; ComfyUI's `prompt` and the rest from the camera's
    model downwards, each after its name.
    """
    tag = _MODEL
    for name, text in texts:
        if name == "parameters":
            comment = b"UNICODE\0" + text.encode("utf_16_be", errors="replace")
            exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = comment
        else:
            exif[tag] = f"{name}:{text}"
            tag -= 1


def _bytes(value: object) -> bytes | None:
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) and value else None


_HIGH_BYTES: Final = [value >> 8 for value in range(2**16)]


def _high_byte(value: Any) -> Any:
    return value * (1 / 256)
