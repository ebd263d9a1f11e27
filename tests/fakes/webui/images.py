"""Pictures whose content depends on what was asked: the same request gives the same bytes."""

import base64
import binascii
import io
import random

from fastapi import HTTPException
from PIL import Image, PngImagePlugin, UnidentifiedImageError


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


def grid_of(images: list[Image.Image], *, margin: tuple[int, int] = (0, 0)) -> Image.Image:
    """All images, in as many rows as go into their square; `margin` is for what scripts write."""
    rows = int(len(images) ** 0.5)
    columns = -(-len(images) // rows)
    width, height = images[0].size
    size = (width * columns + margin[0], height * rows + margin[1])
    grid = Image.new("RGB", size)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        grid.paste(image, (margin[0] + column * width, margin[1] + row * height))
    return grid


def encode(
    image: Image.Image, samples_format: str, text: str = "", *, key: str = "parameters"
) -> str:
    """Base64 of the image's file; a PNG carries the text."""
    buffer = io.BytesIO()
    if samples_format == "png":
        notes = PngImagePlugin.PngInfo()
        if text or key == "postprocessing":
            notes.add_text(key, text)
        image.save(buffer, "PNG", pnginfo=notes, compress_level=1)
    else:
        image.save(buffer, {"jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}[samples_format])
    return base64.b64encode(buffer.getvalue()).decode()


def decode(encoding: str) -> Image.Image:
    """The image in a field of a request; the real server would fetch a URL, we must not see one."""
    if encoding.startswith(("http://", "https://")):
        raise HTTPException(500, "Request to local resource not allowed")
    if encoding.startswith("data:image/"):
        encoding = encoding.split(";")[1].split(",")[1]
    try:
        image = Image.open(io.BytesIO(base64.b64decode(encoding)))
    except (binascii.Error, UnidentifiedImageError) as error:
        raise HTTPException(500, "Invalid encoded image") from error
    try:
        image.load()
    except OSError as error:  # found when it is used, within the job
        raise OSError("image file is truncated") from error
    return image.convert("RGB")
