"""What the bytes of an input are: judged from themselves, without decoding a pixel."""

from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Final

from queue_agent.media.asset import Asset
from queue_agent.wire.errors import Rejected
from queue_agent.wire.reference import MediaKind

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_HEAD: Final = 8192
"""Bytes in which every known format shows itself."""


def inspect(asset: Asset, kind: MediaKind, max_pixels: int) -> str:
    """The media type, after checking that the bytes are of that kind and not too large.

    Raises:
        Rejected: of type ``reference_not_image`` (``_video``, ``_audio``) or
            ``reference_too_large``; its message continues "https://… ".
    """
    import filetype  # noqa: PLC0415  most commands inspect nothing

    with asset.open() as file:
        found = filetype.guess(file.read(_HEAD))
    media_type = str(found.mime) if found else "application/octet-stream"
    if not media_type.startswith(f"{kind}/"):
        raise Rejected(
            f"is no {kind} (its bytes look like {media_type})", type=f"reference_not_{kind}"
        )
    if kind == "image":
        width, height = _image_size(asset, media_type)
        if width * height > max_pixels:
            raise Rejected(
                f"has {width} x {height} pixels; the limit is {max_pixels}",
                type="reference_too_large",
            )
    return media_type


def _image_size(asset: Asset, media_type: str) -> tuple[int, int]:
    """Width and height from the header alone, whatever it claims."""
    reader = _image_readers().get(media_type)
    if reader is None:
        raise Rejected(
            f"is an image of a format that is not read ({media_type})", type="reference_not_image"
        )
    try:
        with asset.open() as file, reader(file) as image:
            return image.size
    except (SyntaxError, OSError, ValueError, OverflowError) as error:
        raise Rejected(f"is a broken image ({media_type})", type="reference_not_image") from error


def _image_readers() -> "dict[str, Callable[[BinaryIO], ImageFile]]":
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
