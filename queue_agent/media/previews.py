"""Previews of work under way, made small and clean, whatever a runtime gave."""

import io
from typing import TYPE_CHECKING, Final

from queue_agent.media.facts import BrokenImage, decode, media_type_of

if TYPE_CHECKING:
    from PIL.Image import Image


PREVIEW_MEDIA_TYPE: Final = "image/jpeg"
PREVIEW_SIDE: Final = 512
"""Pixels of a preview's longer side, at most."""
LARGEST_PREVIEW: Final = 64 * 1024
"""Bytes of a preview, at most."""

_FORMATS: Final = frozenset({"image/png", "image/jpeg", "image/webp"})
_MOST_BYTES: Final = 16 * 1024 * 1024
_MOST_PIXELS: Final = 4096 * 4096
_QUALITIES: Final = (80, 50, 20, 8)
"""Tried one after another; the last is small enough for noise of `PREVIEW_SIDE` squared."""


def small_preview(data: bytes) -> bytes:
    """The same image as a JPEG of bounded size, with nothing else of the file in it.

    Raises:
        UnreadableImage: it is neither PNG, JPEG nor WebP, it is damaged, or it is huge.
    """
    from PIL.Image import Resampling  # noqa: PLC0415  most commands decode nothing

    media_type = media_type_of(data)
    if media_type not in _FORMATS or len(data) > _MOST_BYTES:
        raise BrokenImage(f"is no preview ({media_type}, {len(data)} bytes)")
    picture = decode(data, max_pixels=_MOST_PIXELS)
    try:
        picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Resampling.BILINEAR)
        return _encoded(picture.convert("RGB"))
    except (MemoryError, OSError, ValueError) as error:
        raise BrokenImage(f"cannot be shown ({media_type})") from error


def _encoded(picture: "Image") -> bytes:
    for quality in _QUALITIES:
        encoded = io.BytesIO()
        picture.save(encoded, "JPEG", quality=quality)
        if encoded.tell() <= LARGEST_PREVIEW:
            break
    return encoded.getvalue()
