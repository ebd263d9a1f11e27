"""The models that the fake serves, and a real Triton by `stand_in`: their tensors, as Triton's
configuration names them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

NUMBERS: Final = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "FP32", "FP64",
)  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    name: str
    datatype: str
    dims: tuple[int, ...]
    optional: bool = False

    @property
    def data_type(self) -> str:
        """In the words of the configuration."""
        return "TYPE_STRING" if self.datatype == "BYTES" else f"TYPE_{self.datatype}"


@dataclass(frozen=True)
class Served:
    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch: int = 0
    dynamic: bool = False

    def shape(self, tensor: Tensor) -> list[int]:
        """As the metadata tells it."""
        return [-1, *tensor.dims] if self.max_batch else [*tensor.dims]

    def config(self) -> str:
        """The text of its config.pbtxt."""
        batching = "dynamic_batching { max_queue_delay_microseconds: 20000 }"
        return "\n".join(
            [
                f'name: "{self.name}"',
                'backend: "python"',
                f"max_batch_size: {self.max_batch}",
                *_tensors("input", self.inputs),
                *_tensors("output", self.outputs),
                "instance_group [ { kind: KIND_CPU count: 1 } ]",
                *([batching] if self.dynamic else []),
            ]
        )


def _tensors(kind: str, tensors: Iterable[Tensor]) -> Iterable[str]:
    for one in tensors:
        dims = ", ".join(map(str, one.dims))
        optional = " optional: true" if one.optional else ""
        described = f'name: "{one.name}" data_type: {one.data_type} dims: [ {dims} ]{optional}'
        yield f"{kind} {{ {described} }}"


def _optional(name: str, datatype: str, *dims: int) -> Tensor:
    return Tensor(name, datatype, dims, optional=True)


PAINTER: Final = Served(
    "painter",
    (
        Tensor("prompt", "BYTES", (1,)),
        _optional("negative_prompt", "BYTES", 1),
        _optional("steps", "INT32", 1),
        _optional("guidance_scale", "FP32", 1),
        _optional("seed", "INT64", 1),
        _optional("width", "INT32", 1),
        _optional("height", "INT32", 1),
        _optional("image", "UINT8", -1, -1, 3),
    ),
    (Tensor("image", "UINT8", (-1, -1, 3)),),
    max_batch=4,
    dynamic=True,
)
"""The usual model with all that jobs can ask of it, and batches."""
FILES: Final = Served(
    "files",
    (
        Tensor("prompt", "BYTES", (1,)),
        Tensor("steps", "INT32", (1,)),
        _optional("image", "BYTES", 1),
    ),
    (Tensor("image", "BYTES", (-1,)),),
)
"""Answers with two PNGs; takes a file; wants to be told the steps."""
FLOATS: Final = Served(
    "floats",
    (Tensor("PROMPT", "BYTES", (1,)), _optional("INIT_IMAGE", "FP32", 3, -1, -1)),
    (Tensor("GENERATED_IMAGE", "FP32", (3, -1, -1)),),
)
"""Pixels as torch has them."""
ECHO: Final = Served(
    "echo",
    tuple(_optional(f"in_{kind}", kind, -1) for kind in (*NUMBERS, "BYTES")),
    tuple(Tensor(f"out_{kind}", kind, (-1,)) for kind in (*NUMBERS, "BYTES")),
)
"""Answers what it was given, and with one zero, or an empty text, for what it was not."""
MODELS: Final = {model.name: model for model in (PAINTER, FILES, FLOATS, ECHO)}
BROKEN: Final = "broken"
"""A model that does not load."""
MOST_STEPS: Final = 500
TOO_MANY: Final = f"steps: at most {MOST_STEPS}"
OUT_OF_MEMORY: Final = "CUDA out of memory. Tried to allocate 20.00 GiB."
