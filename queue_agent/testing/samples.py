"""Inputs for tests."""

import contextlib
import io
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image


def sample_png(width: int = 64, height: int = 64) -> bytes:
    """A small picture, a diagonal gradient, of so many pixels."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


@contextlib.contextmanager
def in_a_file(data: bytes) -> Iterator[BinaryIO]:
    """What large inputs are handed over in: a file without a name."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        yield file
