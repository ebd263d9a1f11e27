"""A request for an inference: its JSON, and the tensors' data behind it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import Asset
from queue_agent.runtime.http import Body
from queue_agent.wire.job import canonical_json
from queue_agent_runtimes.triton.datatypes import BYTES, LENGTH, pack
from queue_agent_runtimes.triton.models import TensorSpec

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
"""The header field that says how many bytes of a binary body are JSON."""


@dataclass(frozen=True)
class InputTensor:
    """One input with its data."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parts: tuple[bytes | Asset, ...] = field(repr=False)
    """The data, of which files are read while they are sent."""

    @property
    def size(self) -> int:
        """Of the data, in bytes."""
        return sum(len(part) if isinstance(part, bytes) else part.size for part in self.parts)


def values_tensor(spec: TensorSpec, value: JsonValue) -> InputTensor:
    """A number, a text, or lists of them within each other, for an input.

    One value takes the shape of the input with each open side 1; lists have a shape of their own,
    before which sides of 1 are put where the input has more.

    Raises:
        ValueError: lists are of different lengths, or a value is not of the datatype.
    """
    values, own = _flat(value)
    if isinstance(value, list):
        shape = [1] * (len(spec.shape) - len(own)) + own
    else:
        shape = [1 if side == -1 else side for side in spec.shape]
        if math.prod(shape) != 1:
            raise ValueError(f"it takes {math.prod(shape)} values, shaped {spec.shape}")
    return InputTensor(spec.name, spec.datatype, tuple(shape), (pack(values, spec.datatype),))


def files_tensor(spec: TensorSpec, files: Sequence[Asset]) -> InputTensor:
    """Files as the elements of an input of BYTES, in its last dimension."""
    parts: list[bytes | Asset] = []
    for file in files:
        parts += [LENGTH.pack(file.size), file]
    shape = [1] * max(0, len(spec.shape) - 1) + [len(files)]
    return InputTensor(spec.name, BYTES, tuple(shape), tuple(parts))


def _flat(value: JsonValue) -> tuple[list[JsonValue], list[int]]:
    """The values, and the shape of the lists that they stand in."""
    shape: list[int] = []
    level = [value]
    while level and all(isinstance(item, list) for item in level):
        lists = [item for item in level if isinstance(item, list)]
        if len({len(item) for item in lists}) > 1:
            raise ValueError("its lists are of different lengths")
        shape.append(len(lists[0]))
        level = [inner for item in lists for inner in item]
    return level, shape


def body_of(
    inputs: Sequence[InputTensor], outputs: Sequence[str], request_id: str
) -> tuple[Body, Mapping[str, str]]:
    """The body and the header fields of ``POST /v2/models/NAME/infer``."""
    head: JsonValue = {
        "id": request_id,
        "inputs": [
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": [*tensor.shape],
                "parameters": {"binary_data_size": tensor.size},
            }
            for tensor in inputs
        ],
        "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in outputs],
    }
    text = canonical_json(head).encode()
    parts = [text, *(part for tensor in inputs for part in tensor.parts)]
    return Body(parts, "application/octet-stream"), {HEADER_LENGTH: str(len(text))}
