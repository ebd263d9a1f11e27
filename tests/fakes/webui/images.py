"""Pictures whose content depends on what was asked: the same request gives the same bytes."""

import base64
import binascii
import io
import random

from fastapi import HTTPException
from PIL import Image, PngImagePlugin


def render(subject: str, width: int, height: int, *, noise: float) -> Image.Image:
    """A flat colour chosen by the subject, with noise of the subject's own on top.

    `noise` is the part of the rows that it covers; noise does not compress, so that it also
    chooses the size of the file.
    """
    chance = random.Random(subject)  # noqa: S311  not a secret
    red, green, blue = chance.randbytes(3)
    image = Image.new("RGB", (width, height), (red, green, blue))
    rows = max(1, round(height * noise))
    pixels = chance.randbytes(width * rows * 3)
    image.paste(Image.frombytes("RGB", (width, rows), pixels), (0, 0))
    return image


def grid_of(images: list[Image.Image]) -> Image.Image:
    """All images side by side."""
    grid = Image.new("RGB", (sum(image.width for image in images), images[0].height))
    left = 0
    for image in images:
        grid.paste(image, (left, 0))
        left += image.width
    return grid


def encode(image: Image.Image, samples_format: str, infotext: str = "") -> str:
    """Base64 of the image's file; a PNG carries the infotext."""
    buffer = io.BytesIO()
    if samples_format == "png":
        notes = PngImagePlugin.PngInfo()
        if infotext:
            notes.add_text("parameters", infotext)
        image.save(buffer, "PNG", pnginfo=notes, compress_level=1)
    else:
        image.save(buffer, {"jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}[samples_format])
    return base64.b64encode(buffer.getvalue()).decode()


def decode(encoding: str) -> Image.Image:
    """The image in a field of a request; the real server would fetch a URL, we must not see one."""
    if encoding.startswith(("http://", "https://")):
        raise HTTPException(500, "Request to local resource not allowed")
    if encoding.startswith("data:image/"):
        encoding = encoding.partition(";")[2].partition(",")[2]
    try:
        image = Image.open(io.BytesIO(base64.b64decode(encoding)))
        image.load()
    except (binascii.Error, ValueError, OSError) as error:
        raise HTTPException(500, "Invalid encoded image") from error
    return image.convert("RGB")
