"""What media are, judged from their bytes: the one place where anything is decoded.

Decoders of hostile bytes raise whatever they like. All of it ends here, in one of two answers:
the image is broken, or it has too many pixels.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

from queue_agent.media.asset import Asset
from queue_agent.media.signatures import HEAD, sniff
from queue_agent.media.wholeness import is_cut_off
from queue_agent.wire.media_types import UNKNOWN
from queue_agent.wire.reference import MediaKind

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

    Reader = Callable[[BinaryIO], ImageFile]

__all__ = [
    "MAX_PIXELS",
    "BrokenImage",
    "Facts",
    "TooManyPixels",
    "UnreadableImage",
    "check_whole",
    "decode",
    "facts_of",
    "kind_of",
    "media_type_of",
]

MAX_PIXELS: Final = 64_000_000
"""The most pixels of an image that are decoded, where nobody says otherwise."""

_ALL_FRAMES: Final = 16
"""How many times the pixels of one image an animation may have in all."""


class UnreadableImage(Exception):
    """The bytes are no image that can be used. The message continues "https://… "."""


class BrokenImage(UnreadableImage):
    """They are damaged, or of a format that is not read."""


class TooManyPixels(UnreadableImage):
    """It would not fit into memory."""


@dataclass(frozen=True)
class Facts:
    """What a file says of itself."""

    media_type: str
    width: int | None = None
    """In pixels, of images whose format is read."""
    height: int | None = None

    @property
    def kind(self) -> MediaKind | Literal["other"]:
        """What people would call it."""
        return kind_of(self.media_type)


def kind_of(media_type: str) -> MediaKind | Literal["other"]:
    """What people would call a file of that type."""
    kinds: tuple[MediaKind, ...] = ("image", "video", "audio")
    return next((kind for kind in kinds if media_type.startswith(f"{kind}/")), "other")


def media_type_of(data: bytes) -> str:
    """The media type by content, e.g. ``image/png``; `UNKNOWN` where it is not recognised."""
    return sniff(data)


def typed(asset: Asset) -> Asset:
    """The same bytes, with the media type that they show."""
    return Asset(asset.content, _type_of(asset))


def facts_of(content: bytes | Asset) -> Facts:
    """What a file is, from its first bytes and, of an image, its header; no pixel is decoded.

    Raises:
        BrokenImage: its header cannot be read.
        TooManyPixels: even its header is refused.
    """
    asset = _asset(content)
    media_type = _type_of(asset)
    if media_type not in _readers():
        return Facts(media_type)
    with _opened(asset, media_type) as image:
        return Facts(media_type, *image.size)


def decode(content: bytes | Asset, *, max_pixels: int = MAX_PIXELS) -> "Image":
    """The image in a file, upright, its first frame if it moves.

    Raises:
        BrokenImage: it is damaged, or none that is read.
        TooManyPixels: found before it is decompressed.
    """
    from PIL import ImageOps  # noqa: PLC0415  most commands decode nothing

    asset = _asset(content)
    with _opened(asset, _type_of(asset)) as image:
        _spend(image, max_pixels)
        image.load()
        return ImageOps.exif_transpose(image)


def is_readable(media_type: str) -> bool:
    """Whether images of the type are decoded here."""
    return media_type in _readers()


@contextmanager
def image_in(content: bytes | Asset, media_type: str) -> "Iterator[ImageFile]":
    """An image of that type with its header read; what a decoder raises in the block is told so.

    Raises:
        BrokenImage: it is damaged, or none that is read.
        TooManyPixels: it would not fit into memory.
    """
    with _opened(_asset(content), media_type) as image:
        yield image


def check_whole(content: bytes | Asset, *, max_pixels: int = MAX_PIXELS) -> Facts:
    """The facts of an image, after decoding all of it, and every frame of one that moves.

    Damage that leaves the length as it was is found where the format has checksums (PNG) or the
    decoder stumbles over it.

    Raises:
        BrokenImage: it is cut off or damaged, or none that is read.
        TooManyPixels: one frame has more than `max_pixels`, or all have 16 times as many.
    """
    asset = _asset(content)
    media_type = _type_of(asset)
    with _opened(asset, media_type) as image:
        found = Facts(media_type, *image.size)
        left = _ALL_FRAMES * max_pixels
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            left -= _spend(image, min(left, max_pixels))
            image.load()
    with asset.open() as file:
        if is_cut_off(file, media_type):
            raise BrokenImage(f"is a broken image ({media_type})")
    return found


def _asset(content: bytes | Asset) -> Asset:
    return content if isinstance(content, Asset) else Asset(content, UNKNOWN)


def _type_of(asset: Asset) -> str:
    with asset.open() as file:
        return sniff(file.read(HEAD))


def _spend(image: "ImageFile", most: int) -> int:
    width, height = image.size
    if width * height > most:
        raise TooManyPixels(f"has {width} x {height} pixels; the limit is {most}")
    return width * height


@contextmanager
def _opened(asset: Asset, media_type: str) -> "Iterator[ImageFile]":
    """The image with its header read; what a decoder raises meanwhile is translated."""
    from PIL.Image import DecompressionBombError  # noqa: PLC0415

    reader = _readers().get(media_type)
    if reader is None:
        is_image = kind_of(media_type) == "image"
        what = "an image of a format that is not read" if is_image else "no image"
        raise BrokenImage(f"is {what} ({media_type})")
    with asset.open() as file:
        try:
            with reader(file) as image:
                yield image
        except UnreadableImage:
            raise
        except (DecompressionBombError, MemoryError) as error:
            raise TooManyPixels("has too many pixels") from error
        except Exception as error:  # Pillow promises no list of what its decoders raise
            raise BrokenImage(f"is a broken image ({media_type})") from error


@cache
def _readers() -> "dict[str, Reader]":
    """Pillow's readers, by media type, that read no more than the header when opened.

    Named one by one, since `Image.open` also tries formats that decode at once (ICO).
    """
    from PIL import (  # noqa: PLC0415
        AvifImagePlugin,
        BmpImagePlugin,
        GifImagePlugin,
        Jpeg2KImagePlugin,
        JpegImagePlugin,
        PngImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )

    return {
        "image/apng": PngImagePlugin.PngImageFile,
        "image/avif": AvifImagePlugin.AvifImageFile,
        "image/bmp": BmpImagePlugin.BmpImageFile,
        "image/gif": GifImagePlugin.GifImageFile,
        "image/jpeg": JpegImagePlugin.JpegImageFile,
        "image/jpx": Jpeg2KImagePlugin.Jpeg2KImageFile,
        "image/png": PngImagePlugin.PngImageFile,
        "image/tiff": TiffImagePlugin.TiffImageFile,
        "image/webp": WebPImagePlugin.WebPImageFile,
    }
