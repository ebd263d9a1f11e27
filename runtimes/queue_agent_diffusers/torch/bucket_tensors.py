"""The tensors of `.safetensors` files in any bucket, as their bytes come in.

Of a file no more than one tensor is in the host's memory:
https://github.com/huggingface/safetensors#format
"""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import torch

from queue_agent.tasks import together
from queue_agent_diffusers.torch.object_storage import SIMULTANEOUS, StoredModel, repeating
from queue_agent_diffusers.torch.tensor_hash import LENGTH_BYTES, header_length

Named = tuple[str, torch.Tensor]

_DTYPES: Final[Mapping[str, torch.dtype]] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def bucket_tensors(
    stored: StoredModel, paths: Sequence[str], device: torch.device, runner: asyncio.Runner
) -> Iterator[Named]:
    """Those of several files at once, on the device; `runner` is where the bucket was opened.

    A file that breaks off is begun again a few times, and its tensors come anew.

    Raises:
        ModelUnreadable: a file is not the one that was listed, or that the manifest names.
        ValueError: a file is none of that format.
        QueueAgentError: as the bucket does.
    """
    made: asyncio.Queue[Named] = asyncio.Queue(SIMULTANEOUS)
    slots = asyncio.Semaphore(SIMULTANEOUS)

    async def read(path: str) -> None:
        async with slots:
            await repeating(lambda: _read(stored, path, device, made))

    async def begin() -> asyncio.Task[list[None]]:
        return asyncio.create_task(together([read(path) for path in paths]))

    # The loop goes on only while a tensor is waited for.
    work = runner.run(begin())
    try:
        while (named := runner.run(_next(made, work))) is not None:
            yield named
    finally:
        runner.run(_end(work))


async def _next(made: asyncio.Queue[Named], work: asyncio.Task[list[None]]) -> Named | None:
    """None once the work has ended; raises what it has ended with."""
    waiting = asyncio.create_task(made.get())
    await asyncio.wait({waiting, work}, return_when=asyncio.FIRST_COMPLETED)
    if waiting.done():
        return waiting.result()
    waiting.cancel()
    await work
    return None


async def _end(work: asyncio.Task[list[None]]) -> None:
    work.cancel()
    await asyncio.wait({work})


async def _read(
    stored: StoredModel, path: str, device: torch.device, made: asyncio.Queue[Named]
) -> None:
    file = _File(device, hashed=path in stored.hashes)

    async def take(piece: bytes) -> None:
        for named in await asyncio.to_thread(file.take, piece):
            await made.put(named)

    await stored.bucket.read_into(stored.files[path].key, take)
    stored.check(path, file.size, file.hexdigest)
    file.check_whole()


@dataclass
class _Entry:
    name: str
    dtype: torch.dtype
    shape: list[int]
    size: int


class _File:
    """One that comes in pieces."""

    def __init__(self, device: torch.device, *, hashed: bool) -> None:
        self.size = 0
        self._device = device
        self._hash: Any = hashlib.sha256() if hashed else None
        self._begin = bytearray()
        self._entries: list[_Entry] | None = None
        """Of tensors that have not come, the next one last; None before the header has."""
        self._next = bytearray()

    @property
    def hexdigest(self) -> str:
        """Of what has come, where that is computed."""
        return self._hash.hexdigest() if self._hash else ""

    def check_whole(self) -> None:
        """Raise ValueError where something is missing, or too much."""
        if self._entries is None or self._entries or self._next:
            raise ValueError("it is cut off, or no .safetensors file")

    def take(self, piece: bytes) -> list[Named]:
        """The tensors that are whole by this piece."""
        self.size += len(piece)
        if self._hash is not None:
            self._hash.update(piece)
        if self._entries is None:
            self._begin += piece
            length = header_length(bytes(self._begin[:LENGTH_BYTES]))
            if length == 0 and len(self._begin) >= LENGTH_BYTES:
                raise ValueError("it is no .safetensors file")
            if length == 0 or len(self._begin) < length:
                return []
            self._entries = _entries(bytes(self._begin[LENGTH_BYTES:length]))
            piece = bytes(self._begin[length:])
            self._begin.clear()
        return list(self._tensors(piece))

    def _tensors(self, piece: bytes) -> Iterator[Named]:
        rest = memoryview(piece)
        while self._entries:
            wanted = self._entries[-1].size - len(self._next)
            self._next += rest[:wanted]
            rest = rest[wanted:]
            if len(self._next) < self._entries[-1].size:
                return
            entry, data = self._entries.pop(), self._next
            self._next = bytearray()
            yield entry.name, self._tensor(entry, data)
        self._next += rest

    def _tensor(self, entry: _Entry, data: bytearray) -> torch.Tensor:
        if not data:
            return torch.empty(entry.shape, dtype=entry.dtype, device=self._device)
        return torch.frombuffer(data, dtype=entry.dtype).reshape(entry.shape).to(self._device)


def _entries(header: bytes) -> list[_Entry]:
    """The last tensor first."""
    try:
        found: dict[str, Any] = json.loads(header)
        found.pop("__metadata__", None)
        order = sorted(found, key=lambda name: found[name]["data_offsets"], reverse=True)
        place = 0
        entries = []
        for name in reversed(order):
            begin, end = found[name]["data_offsets"]
            if begin != place:
                raise ValueError("its tensors do not follow each other")
            place = end
            dtype, shape = _DTYPES[found[name]["dtype"]], found[name]["shape"]
            if min(shape, default=0) < 0 or end - begin != prod(shape) * dtype.itemsize:
                raise ValueError(f"its header makes no sense: {name} has bytes for another shape")
            entries.append(_Entry(name, dtype, shape, end - begin))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its header makes no sense: {error}") from error
    return entries[::-1]
