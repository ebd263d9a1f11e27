"""Values as the bytes of tensors, and back: the protocol's datatypes, little endian."""

import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Final

from pydantic import Field, JsonValue

Shape = Annotated[list[Annotated[int, Field(ge=-1, le=2**40)]], Field(max_length=16)]
"""The sides of a tensor as a server tells them; -1 of any length."""
BYTES: Final = "BYTES"
"""Texts or files: each element as its length in four bytes, and its bytes."""
LENGTH: Final = struct.Struct("<I")
INTEGERS: Final = {
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
}
FLOATS: Final = {"FP16": "e", "FP32": "f", "FP64": "d"}
BF16: Final = "BF16"
"""The upper half of an FP32."""
_FORMATS: Final = {"BOOL": "?", **INTEGERS, **FLOATS}


def size_of(datatype: str) -> int | None:
    """Bytes of an element; None of those that vary, and of datatypes that nobody knows."""
    if datatype == BF16:
        return 2
    code = _FORMATS.get(datatype)
    return struct.calcsize(f"<{code}") if code else None


def pack(values: Sequence[JsonValue], datatype: str) -> bytes:
    """The values as the data of a tensor.

    Raises:
        ValueError: one is not of that datatype, or does not fit; says which and why.
    """
    if datatype == BYTES:
        return b"".join(_element(value) for value in values)
    if datatype not in _FORMATS and datatype != BF16:
        raise ValueError(f"the datatype {datatype} is not known")
    numbers = [_number(value, datatype) for value in values]
    try:
        if datatype == BF16:
            packed = struct.pack(f"<{len(numbers)}f", *numbers)
            return b"".join(packed[place + 2 : place + 4] for place in range(0, len(packed), 4))
        return struct.pack(f"<{len(numbers)}{_FORMATS[datatype]}", *numbers)
    except (struct.error, OverflowError):
        raise ValueError(f"{_shown(values)} does not fit into {datatype}") from None


def unpack(data: bytes, datatype: str) -> list[int | float | bool]:
    """The numbers in the data of a tensor, which has whole elements."""
    if datatype == BF16:
        halves = (b"\0\0" + data[place : place + 2] for place in range(0, len(data), 2))
        return [*struct.unpack(f"<{len(data) // 2}f", b"".join(halves))]
    code = _FORMATS[datatype]
    return [*struct.unpack(f"<{len(data) // struct.calcsize(code)}{code}", data)]


def element(data: bytes) -> bytes:
    """A file or a text as an element of a tensor of BYTES."""
    return LENGTH.pack(len(data)) + data


def _element(value: JsonValue) -> bytes:
    if not isinstance(value, str):
        raise ValueError(f"{_shown([value])} is no text")  # noqa: TRY004  as all that is wrong
    try:
        return element(value.encode())
    except UnicodeEncodeError:
        raise ValueError("it holds half a character") from None


def _number(value: JsonValue, datatype: str) -> int | float | bool:
    if datatype == "BOOL":
        if isinstance(value, bool):
            return value
    elif isinstance(value, bool):
        pass
    elif datatype in INTEGERS:
        if isinstance(value, int):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
    elif isinstance(value, int | float):
        with suppress(OverflowError):
            return float(value)
    raise ValueError(f"{_shown([value])} is no {datatype}")


def _shown(values: Sequence[JsonValue]) -> str:
    return ", ".join(repr(value)[:60] for value in values[:3])
