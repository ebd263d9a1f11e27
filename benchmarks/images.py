"""Noise, which no encoder makes smaller: pictures of a known size in bytes."""

import io
import os

from PIL import Image

SIDE = 512


def noise_png(size: int = 500_000, *, side: int = SIDE) -> bytes:
    """A square RGB picture of about `size` bytes: rows of noise, and grey below them."""
    rows = min(side, max(1, size // (side * 3)))
    picture = Image.new("RGB", (side, side), (128, 128, 128))
    picture.paste(Image.frombytes("RGB", (side, rows), os.urandom(side * rows * 3)), (0, 0))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def stored_png(size: int) -> bytes:
    """A picture of about `size` bytes whose pixels are stored uncompressed."""
    side = round((size / 3) ** 0.5)
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (128, 64, 32)).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()
