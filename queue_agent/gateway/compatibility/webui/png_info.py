"""What an image says of how it was made; found here, without a runtime."""

import asyncio
import base64
import binascii
import io
from typing import Final

from PIL import ExifTags, Image
from pydantic import BaseModel, JsonValue

from queue_agent.gateway.compatibility.webui.infotext import parse_infotext
from queue_agent.gateway.compatibility.webui.routing import new_router
from queue_agent.gateway.dependencies import CallerPart
from queue_agent.wire.problems import Problem

_HIDDEN: Final = frozenset({
    "jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "exif", "loop", "background",
    "timestamp", "duration", "progressive", "progression", "icc_profile", "chromaticity",
    "photoshop",
})  # fmt: skip
"""What Pillow tells of a file's form."""
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "AVIF", "GIF")
_USER_COMMENT: Final = 8
"""Bytes before its text that name the encoding."""

router = new_router()


class PngInfoRequest(BaseModel):
    """An image, as base64 or data URL."""

    image: str


@router.post("/png-info")
async def png_info(body: PngInfoRequest, _: CallerPart) -> dict[str, JsonValue]:
    """The image's infotext, read; and what else is written in it."""
    return await asyncio.to_thread(_read, body.image)


def _read(encoded: str) -> dict[str, JsonValue]:
    data = encoded.partition(",")[2] if encoded.startswith("data:") else encoded
    try:
        file = io.BytesIO(base64.b64decode(data, validate=True))
        with Image.open(file, formats=_FORMATS) as image:
            items: dict[str, JsonValue] = {
                str(name): value if isinstance(value, str | int | float) else str(value)
                for name, value in image.info.items()
                if name not in _HIDDEN
            }
            comment = _user_comment(image)
    except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise Problem(422, "HTTPException", "Invalid encoded image") from None
    info = items.pop("parameters", None) or comment
    if comment:
        items["exif comment"] = comment
    text = info if isinstance(info, str) else ""
    return {"info": text, "items": items, "parameters": parse_infotext(text)}


def _user_comment(image: Image.Image) -> str:
    """Where all but PNGs have the infotext; of these, Pillow would decompress all pixels for it."""
    if image.format == "PNG":
        return ""
    value = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if not isinstance(value, bytes):
        return value if isinstance(value, str) else ""
    encoding = "utf-16-be" if value.startswith(b"UNICODE") else "utf-8"
    return value[_USER_COMMENT:].decode(encoding, errors="ignore")
