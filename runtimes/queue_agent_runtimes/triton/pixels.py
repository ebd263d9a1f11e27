"""Pictures as tensors of pixels, and back. Holds the thread up: for `asyncio.to_thread`."""

import io
import math
import struct
from dataclasses import dataclass
from typing import Final

from PIL import Image

from queue_agent.media.facts import MAX_PIXELS, UnreadableImage, decode
from queue_agent.runtime import Asset
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent_runtimes.triton.datatypes import BF16, FLOATS, unpack

MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}
"""By the number of channels."""
PIXEL_TYPES: Final = frozenset({"UINT8", BF16, *FLOATS})
"""Datatypes of pixels: from 0 to 255 or, of the floats, from 0 to 1."""
MOST_PICTURES: Final = 1024
"""In an output."""
_TOLERANCE: Final = 0.01
"""How far beyond 0 and 1 rounding may carry a pixel."""


@dataclass(frozen=True)
class Layout:
    """Where the pixels stand in a tensor."""

    count: int
    """Of images."""
    height: int
    width: int
    channels: int
    channels_first: bool

    @property
    def values(self) -> int:
        """Of one image."""
        return self.height * self.width * self.channels


def layout_of(shape: list[int]) -> Layout | None:
    """What a shape means: [height, width], or with channels, and any others before; None: none.

    Channels stand last (diffusers' and most others' way) or first (torch's), and are 1, 3 or 4.
    """
    if len(shape) < 2:
        return None
    if len(shape) == 2:
        return Layout(1, shape[0], shape[1], 1, channels_first=False)
    count, (first, second, last) = math.prod(shape[:-3]), shape[-3:]
    if last in MODES:
        return Layout(count, first, second, last, channels_first=False)
    if first in MODES:
        return Layout(count, second, last, first, channels_first=True)
    return None


def pictures_of(data: bytes, datatype: str, layout: Layout) -> list[bytes]:
    """The images in a tensor's data, each as a PNG.

    Raises:
        Unavailable: they are none, or too large (type ``invalid_answer``).
    """
    if not layout.count or not layout.values:
        raise _no_pictures("it is empty")
    if layout.count > MOST_PICTURES:
        raise _no_pictures(f"it has more than {MOST_PICTURES} of them")
    if layout.height * layout.width > MAX_PIXELS:
        raise _no_pictures(f"it has more than {MAX_PIXELS} pixels")
    pixels = data if datatype == "UINT8" else _from_floats(data, datatype)
    size = layout.values
    return [
        _png(pixels[place : place + size], layout) for place in range(0, layout.count * size, size)
    ]


def _png(pixels: bytes, layout: Layout) -> bytes:
    size = layout.width, layout.height
    mode = MODES[layout.channels]
    if layout.channels_first:
        plane = layout.width * layout.height
        planes = [
            Image.frombytes("L", size, pixels[place : place + plane])
            for place in range(0, len(pixels), plane)
        ]
        image = Image.merge(mode, planes)
    else:
        image = Image.frombytes(mode, size, pixels)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _from_floats(data: bytes, datatype: str) -> bytes:
    """Pixels from 0 to 1 as bytes."""
    if datatype != "FP32":
        numbers = unpack(data, datatype)
        data = struct.pack(f"<{len(numbers)}f", *numbers)
    row = Image.frombytes("F", (len(data) // 4, 1), data, "raw", "F;32F")
    least, most = row.getextrema()
    if not (_plain(least) >= -_TOLERANCE and _plain(most) <= 1 + _TOLERANCE):
        raise _no_pictures("its pixels are not from 0 to 1")
    return row.point(lambda value: value * 255 + 0.5).convert("L").tobytes()


def _plain(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _no_pictures(reason: str) -> Unavailable:
    return Unavailable(f"The runtime's answer holds no pictures: {reason}.", type="invalid_answer")


def as_pixels(image: Asset, shape: list[int], datatype: str, field: str) -> tuple[list[int], bytes]:
    """A picture for an input of that shape and datatype: the shape without -1, and the data.

    It is made as large as the shape says, where that says so, and is in RGB unless the shape has
    other channels.

    Raises:
        Rejected: it is no picture, or the input takes none (type ``invalid_content``).
    """
    rank = min(len(shape), 3)
    sides = shape[-rank:]
    first = rank == 3 and sides[0] in MODES and sides[2] not in MODES
    channels = 1 if rank < 3 else sides[0] if first else sides[2]
    channels = 3 if channels == -1 else channels
    if rank < 2 or channels not in MODES or datatype not in PIXEL_TYPES:
        raise Rejected(
            f"{field}: the model's input {shape} of {datatype} takes no picture.",
            type="invalid_content",
        )
    wanted_height, wanted_width = sides[1:] if first else sides[:2]
    try:
        picture = decode(image).convert(MODES[channels])
    except UnreadableImage as error:
        raise Rejected(f"{field}: {error}.", type="invalid_content") from error
    width = picture.width if wanted_width == -1 else wanted_width
    height = picture.height if wanted_height == -1 else wanted_height
    if (width, height) != picture.size:
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    planes = picture.split() if first else [picture]
    data = b"".join(_as_type(plane.tobytes(), datatype) for plane in planes)
    own = [height, width] if rank == 2 else [height, width, channels]
    own = [channels, height, width] if first else own
    return [1] * (len(shape) - rank) + own, data


def _as_type(pixels: bytes, datatype: str) -> bytes:
    if datatype == "UINT8":
        return pixels
    row = Image.frombytes("L", (len(pixels), 1), pixels).convert("F")
    floats = row.point(lambda value: value * (1 / 255) + 0).tobytes("raw", "F;32F")
    if datatype == "FP32":
        return floats
    if datatype == BF16:
        return b"".join(floats[place + 2 : place + 4] for place in range(0, len(floats), 4))
    count = len(floats) // 4
    return struct.pack(f"<{count}{FLOATS[datatype]}", *struct.unpack(f"<{count}f", floats))
