"""An answer to an inference, read as it comes: JSON, then the outputs' data one after another."""

import asyncio
import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from pydantic import BaseModel, Field, JsonValue, ValidationError

from queue_agent.runtime import Asset, Spool, Spools
from queue_agent.runtime.http import SpooledText, StreamedResponse, parse_json
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.media_types import UNKNOWN
from queue_agent_runtimes.triton.datatypes import BYTES, LENGTH, Shape, pack, size_of
from queue_agent_runtimes.triton.request import HEADER_LENGTH

LONGEST_HEADER: Final = 2**20
"""Bytes of the JSON before the data."""
MOST_ELEMENTS: Final = 1024
"""Files in an output."""
LARGEST_TENSOR: Final = 256 * 2**20
"""Bytes of an output of numbers, which are in memory when they are made pictures."""


@dataclass(frozen=True)
class OutputTensor:
    """One output with its data."""

    name: str
    datatype: str
    shape: list[int]
    data: tuple[Asset, ...] = field(repr=False)
    """Of BYTES, each element; else the numbers."""


class _Parameters(BaseModel):
    binary_data_size: int | None = Field(default=None, ge=0)


class _Output(BaseModel):
    name: str
    datatype: str
    shape: Shape
    parameters: _Parameters = _Parameters()

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


async def read_answer(
    answer: StreamedResponse, spools: Spools
) -> tuple[dict[str, JsonValue], list[OutputTensor]]:
    """What the server says beside the data, and the outputs.

    Raises:
        Unavailable: the answer is cut short or makes no sense (type ``invalid_answer``), or more of
            it would have to be in memory than fits (type ``answer_too_large``).
    """
    length = answer.headers.get(HEADER_LENGTH)
    if length is None:  # a server that has no binary data
        head = await answer.json_object(spools)
        return _told(head), [await _from_json(*output) for output in _outputs_in(head)]
    if not (length.isascii() and length.isdigit()):
        raise _no_sense(f"{HEADER_LENGTH} is {length[:40]!r}")
    if int(length) > LONGEST_HEADER:
        raise _too_large(f"the JSON of its answer has {length[:40]} bytes")
    async with aclosing(answer.chunks()) as chunks:
        pieces = _Pieces(chunks)
        head = _object(await pieces.take(int(length)))
        outputs = [
            await _from_json(output, data)
            if output.parameters.binary_data_size is None
            else await _from_binary(output, output.parameters.binary_data_size, pieces, spools)
            for output, data in _outputs_in(head)
        ]
        await pieces.end()
    return _told(head), outputs


class _Pieces:
    """Takes an answer's bytes by number."""

    def __init__(self, chunks: AsyncGenerator[bytes, None]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    async def take(self, size: int) -> bytes:
        """The next bytes, in memory."""
        taken = bytearray()
        while len(taken) < size:
            taken += await self._some(size - len(taken))
        return bytes(taken)

    async def into(self, spool: Spool, size: int) -> Asset:
        """The next bytes, in a spool."""
        left = size
        while left:
            piece = await self._some(left)
            await spool.write(bytes(piece))
            left -= len(piece)
        return await spool.asset()

    async def end(self) -> None:
        """There is no more."""
        if self._rest or await self._next():
            raise _no_sense("there is more in it than it says")

    async def _next(self) -> bytes:
        """Empty at the end only."""
        return await anext(self._chunks, b"")

    async def _some(self, most: int) -> memoryview:
        while not self._rest:
            self._rest = memoryview(await self._next())
            if not self._rest:
                raise _no_sense("it is cut short")
        piece, self._rest = self._rest[:most], self._rest[most:]
        return piece


async def _from_binary(output: _Output, size: int, pieces: _Pieces, spools: Spools) -> OutputTensor:
    data: tuple[Asset, ...]
    if output.datatype == BYTES:
        data = await _elements(output, pieces, size, spools)
    else:
        if size != _expected_size(output):
            raise _no_sense(f"{output.name!r} has {size} bytes")
        data = (await pieces.into(spools.new(), size),)
    return OutputTensor(output.name, output.datatype, output.shape, data)


async def _elements(
    output: _Output, pieces: _Pieces, size: int, spools: Spools
) -> tuple[Asset, ...]:
    elements: list[Asset] = []
    left = size
    while left:
        if left < LENGTH.size:
            raise _no_sense(f"{output.name!r} ends amid a length")
        (length,) = LENGTH.unpack(await pieces.take(LENGTH.size))
        left -= LENGTH.size + length
        if left < 0:
            raise _no_sense(f"an element of {output.name!r} is longer than all of them")
        if len(elements) >= MOST_ELEMENTS:
            raise _too_large(f"{output.name!r} has over {MOST_ELEMENTS} elements")
        elements.append(await pieces.into(spools.new(), length))
    if len(elements) != output.elements:
        raise _no_sense(f"{output.name!r} has {len(elements)} elements, shaped {output.shape}")
    return tuple(elements)


async def _from_json(output: _Output, given: JsonValue) -> OutputTensor:
    """Of an output whose data are in the JSON: numbers, and BYTES as texts."""
    values = _flat(given if isinstance(given, list) else [])
    if len(values) != output.elements:
        raise _no_sense(f"{output.name!r} has {len(values)} elements, shaped {output.shape}")
    data: tuple[Asset, ...]
    if output.datatype == BYTES:
        data = tuple(map(_file, values))
    else:
        _expected_size(output)
        try:
            packed = await asyncio.to_thread(pack, values, output.datatype)
        except ValueError as error:
            raise _no_sense(f"of {output.name!r}: {error}") from error
        data = (Asset(packed, UNKNOWN),)
    return OutputTensor(output.name, output.datatype, output.shape, data)


def _file(value: JsonValue) -> Asset:
    if isinstance(value, SpooledText):
        return value.asset
    if not isinstance(value, str):
        raise _no_sense("an element of BYTES is no text")
    return Asset(value.encode(errors="replace"), UNKNOWN)


def _flat(values: list[JsonValue]) -> list[JsonValue]:
    while any(isinstance(value, list) for value in values):
        values = [
            inner for value in values for inner in (value if isinstance(value, list) else [value])
        ]
    return values


def _expected_size(output: _Output) -> int:
    """Of its data in bytes, in memory."""
    one = size_of(output.datatype)
    if one is None:
        raise _no_sense(f"the datatype {output.datatype[:40]!r} of {output.name!r} is not known")
    if any(side < 0 for side in output.shape):
        raise _no_sense(f"{output.name!r} is shaped {output.shape}")
    if (size := one * output.elements) > LARGEST_TENSOR:
        raise _too_large(f"{output.name!r} has {size} bytes")
    return size


def _outputs_in(head: Mapping[str, JsonValue]) -> list[tuple[_Output, JsonValue]]:
    """Each output, and its data where they are in the JSON."""
    entries = head.get("outputs")
    if not isinstance(entries, list):
        raise _no_sense("it has no outputs")
    try:
        outputs = [_Output.model_validate(entry) for entry in entries]
    except ValidationError as error:
        raise _no_sense("its outputs are not described") from error
    return [
        (output, entry.get("data") if isinstance(entry, dict) else None)
        for output, entry in zip(outputs, entries, strict=True)
    ]


def _object(text: bytes) -> dict[str, JsonValue]:
    try:
        head = parse_json(text)
    except ValueError as error:
        raise _no_sense(f"its beginning is no JSON: {error}") from error
    if not isinstance(head, dict):
        raise _no_sense("its beginning is no JSON object")
    return head


def _told(head: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The JSON without the data."""
    outputs = head.get("outputs")
    told: list[JsonValue] = [
        {name: value for name, value in output.items() if name not in {"data", "parameters"}}
        for output in (outputs if isinstance(outputs, list) else [])
        if isinstance(output, dict)
    ]
    return {**head, "outputs": told}


def _no_sense(reason: str) -> Unavailable:
    return Unavailable(f"The runtime's answer makes no sense: {reason}.", type="invalid_answer")


def _too_large(reason: str) -> Unavailable:
    return Unavailable(f"The runtime's answer is too large: {reason}.", type="answer_too_large")
