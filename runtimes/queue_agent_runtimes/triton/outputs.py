"""From outputs to artifacts."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from pydantic import JsonValue

from queue_agent.media.facts import media_type_of
from queue_agent.runtime import Artifact, Asset
from queue_agent.runtime.images import decode_images
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.media_types import UNKNOWN
from queue_agent_runtimes.triton.answer import OutputTensor
from queue_agent_runtimes.triton.datatypes import BYTES, size_of, unpack
from queue_agent_runtimes.triton.pixels import PIXEL_TYPES, layout_of, pictures_of

MOST_VALUES: Final = 1000
"""Of an output that is no picture, which are told."""
_HEAD: Final = 8192
"""Bytes in which a file shows what it is."""


async def artifacts_of(tensor: OutputTensor, seed: int | None) -> list[Artifact]:
    """The files that an output holds, or the pictures that its pixels are.

    Raises:
        Unavailable: it holds neither (type ``invalid_answer``).
    """
    if tensor.datatype == BYTES:
        files = [await _file(one, number, tensor) for number, one in enumerate(tensor.data, 1)]
    elif tensor.datatype in PIXEL_TYPES and (layout := layout_of(tensor.shape)):
        pictures = await asyncio.to_thread(
            lambda: pictures_of(tensor.data[0].data, tensor.datatype, layout)
        )
        files = [Asset(picture, "image/png") for picture in pictures]
    else:
        raise Unavailable(
            f"The runtime's output {tensor.name!r} holds no pictures: {tensor.datatype}, shaped "
            f"{tensor.shape}.",
            type="invalid_answer",
        )
    return [
        Artifact(file.content, file.media_type, seed if number == 0 else None)
        for number, file in enumerate(files)
    ]


async def told_or_made(tensor: OutputTensor) -> tuple[list[Artifact], JsonValue]:
    """Of any output: its artifacts or, where it holds no pictures, the few values that it has.

    Raises:
        Unavailable: what it holds is neither.
    """
    if tensor.datatype == BYTES:
        if all([await _is_text(element) for element in tensor.data]):
            return [], [element.data.decode() for element in tensor.data]
    elif layout_of(tensor.shape) is None or tensor.datatype not in PIXEL_TYPES:
        return [], await asyncio.to_thread(_values, tensor)
    return await artifacts_of(tensor, None), None


async def _file(element: Asset, number: int, tensor: OutputTensor) -> Asset:
    file = await _unwrapped(element)
    if file.media_type == UNKNOWN:
        raise Unavailable(
            f"Element {number} of the runtime's output {tensor.name!r} is of no known kind.",
            type="invalid_answer",
        )
    return file


async def _unwrapped(element: Asset) -> Asset:
    """The file that an element is or, where it is the base64 text or the data URL of one, that."""
    with element.open() as opened:
        file = Asset(element.content, media_type_of(opened.read(_HEAD)))
    if file.media_type == UNKNOWN:
        with suppress(UnicodeDecodeError, Unavailable):
            (file,) = await decode_images([element.data.decode("ascii")])
    return file


async def _is_text(element: Asset) -> bool:
    """Short words, rather than a file or its base64 text."""
    if element.size > MOST_VALUES:
        return False
    try:
        element.data.decode()
    except UnicodeDecodeError:
        return False
    return (await _unwrapped(element)).media_type == UNKNOWN


def _values(tensor: OutputTensor) -> JsonValue:
    size = size_of(tensor.datatype) or 1
    if tensor.data[0].size > size * MOST_VALUES:
        return None
    values: Sequence[JsonValue] = unpack(tensor.data[0].data, tensor.datatype)
    return [*values]
