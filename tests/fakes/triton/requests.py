"""A request for an inference, read and refused as Triton does it."""

import json
import math
import struct
from dataclasses import dataclass
from typing import Any

from fakes.triton.served import Served, Tensor

CODES = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b",
    "INT16": "h", "INT32": "i", "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip
BATCHES = (
    "NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to "
    "be prepended to each input shape. If you want to specify the full shape including the batch "
    "dim in your input dims config, try setting max_batch_size to zero. See the model "
    "configuration docs for more info on max_batch_size."
)


class Refusal(Exception):
    """Words, and the status that they come with."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


@dataclass(frozen=True)
class Given:
    """An input with its elements: numbers, or bytes."""

    datatype: str
    shape: list[int]
    data: bytes
    elements: list[Any]


@dataclass(frozen=True)
class Inference:
    id: str
    inputs: dict[str, Given]
    binary: dict[str, bool]
    """The outputs that are asked for, and whether their data shall be binary."""

    def value(self, name: str, default: Any) -> Any:
        return self.inputs[name].elements[0] if name in self.inputs else default

    @property
    def prompt(self) -> str:
        for name in ("prompt", "PROMPT"):
            if name in self.inputs:
                return str(self.inputs[name].elements[0].decode())
        return ""


def read_inference(model: Served, body: bytes, header_length: str | None) -> Inference:
    """The request; raises `Refusal`."""
    length = len(body) if header_length is None else int(header_length)
    head, rest = _json(body[:length]), body[length:]
    known = {tensor.name: tensor for tensor in model.inputs}
    name = f"[request id: {head.get('id') or '<id_unknown>'}] "
    inputs: dict[str, Given] = {}
    for entry in head.get("inputs", []):
        size = entry.get("parameters", {}).get("binary_data_size")
        if size is None:
            data = _packed(entry)
        else:
            data, rest = rest[:size], rest[size:]
        if entry["name"] not in known:
            words = f"unexpected inference input '{entry['name']}' for model '{model.name}'"
            raise Refusal(400, words)
        if size is not None and len(data) < size:
            words = f"unexpected size for input '{entry['name']}', expecting {size - len(data)} "
            raise Refusal(400, f"{words}additional bytes for model '{model.name}'")
        inputs[entry["name"]] = Given(
            entry["datatype"], entry["shape"], data, _elements(data, entry["datatype"])
        )
    _check(model, known, inputs, name)
    return Inference(head.get("id", ""), inputs, _wanted(model, head))


def _json(text: bytes) -> dict[str, Any]:
    words = "failed to parse the request JSON buffer: "
    try:
        text_of, end = json.JSONDecoder().raw_decode(text.decode(errors="replace"))
    except json.JSONDecodeError as error:
        raise Refusal(500, f"{words}Invalid value. at {error.pos + 1}") from error
    if len(text.decode(errors="replace")) > end:
        raise Refusal(
            500, f"{words}The document root must not be followed by other values. at {end}"
        )
    found: dict[str, Any] = text_of
    return found


def _packed(entry: dict[str, Any]) -> bytes:
    values = entry["data"]
    while any(isinstance(value, list) for value in values):
        values = [inner for value in values for inner in value]
    if entry["datatype"] == "BYTES":
        return b"".join(struct.pack("<I", len(value.encode())) + value.encode() for value in values)
    try:
        return struct.pack(f"<{len(values)}{CODES[entry['datatype']]}", *values)
    except struct.error:
        words = "attempt to access JSON non-signed-integer as signed-integer"
        raise Refusal(500, f"Unable to parse 'data': {words}") from None


def _elements(data: bytes, datatype: str) -> list[Any]:
    if datatype != "BYTES":
        count = len(data) // struct.calcsize(CODES[datatype])
        return [*struct.unpack(f"<{count}{CODES[datatype]}", data)]
    found, place = [], 0
    while place < len(data):
        (length,) = struct.unpack_from("<I", data, place)
        found.append(data[place + 4 : place + 4 + length])
        place += 4 + length
    return found


def _check(model: Served, known: dict[str, Tensor], inputs: dict[str, Given], name: str) -> None:
    least, most = sum(not one.optional for one in model.inputs), len(model.inputs)
    if len(inputs) < least:  # nothing but their number is looked at
        missing = [one.name for one in model.inputs if not one.optional and one.name not in inputs]
        expected = str(most) if least == most else f"between {least} and {most}"
        given = ",".join(f"'{one}'" for one in inputs)
        lacking = ",".join(f"'{one}'" for one in missing)
        raise Refusal(
            400,
            f"{name}expected number of inputs {expected} but got "
            f"{len(inputs)} inputs for model '{model.name}'. Got input(s) [{given}], but missing "
            f"required input(s) [{lacking}]. Please provide all required input(s).",
        )
    for one, given_one in inputs.items():
        _check_shape(model, known[one], given_one, name)


def _check_shape(model: Served, tensor: Tensor, given: Given, name: str) -> None:
    if given.datatype != tensor.datatype:
        raise Refusal(
            400,
            f"{name}inference input '{tensor.name}' data-type is '{given.datatype}', but model "
            f"'{model.name}' expects '{tensor.datatype}'",
        )
    wanted = model.shape(tensor)
    fits = len(wanted) == len(given.shape) and all(
        side in {-1, own} for side, own in zip(wanted, given.shape, strict=True)
    )
    if not fits:
        spelled = ",".join(map(str, wanted)), ",".join(map(str, given.shape))
        raise Refusal(
            400,
            f"{name}unexpected shape for input '{tensor.name}' for model '{model.name}'. Expected "
            f"[{spelled[0]}], got [{spelled[1]}]. {BATCHES if model.max_batch else ''}",
        )
    if model.max_batch and given.shape[0] > model.max_batch:
        raise Refusal(
            400,
            f"{name}inference request batch-size must be <= {model.max_batch} for '{model.name}'",
        )
    assert math.prod(given.shape) == len(given.elements), "the fake checks no sizes of JSON data"


def _wanted(model: Served, head: dict[str, Any]) -> dict[str, bool]:
    names = {one.name for one in model.outputs}
    all_binary = bool(head.get("parameters", {}).get("binary_data_output"))
    if not head.get("outputs"):
        return {one.name: all_binary for one in model.outputs}
    wanted = {}
    for entry in head["outputs"]:
        if entry["name"] not in names:
            words = f"unexpected inference output '{entry['name']}' for model '{model.name}'"
            raise Refusal(400, words)
        wanted[entry["name"]] = bool(entry.get("parameters", {}).get("binary_data", all_binary))
    return wanted
