"""How large models are in memory, by their files' headers, before they are loaded."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open

from queue_agent.wire.errors import QueueAgentError
from queue_agent_diffusers.errors import ModelError
from queue_agent_diffusers.options import Options
from queue_agent_diffusers.tiny import FOLDER
from queue_agent_diffusers.torch import hub
from queue_agent_diffusers.torch.devices import dtype_name, precision_of
from queue_agent_diffusers.torch.loader import TINY
from queue_agent_diffusers.torch.model_cache import kept_at
from queue_agent_diffusers.torch.object_storage import StoredModel, is_stored, open_model
from queue_agent_diffusers.torch.tensor_hash import LENGTH_BYTES, header_length
from queue_agent_diffusers.torch.weight_files import (
    INDEX,
    is_weights,
    needed_files,
)

_UNREADABLE: Final = (ModelError, QueueAgentError, OSError, ValueError, SafetensorError)


def size_in_memory(model: str, options: Options) -> int:
    """About how many bytes the weights will take; 0 where nobody can tell.

    Those of one precision are counted, at the precision that they are loaded in. Of a model that
    is not on this machine, the headers of its files are read where they lie.
    """
    try:
        precision = precision_of(options)
        return _weights(model, options, dtype_name(precision)) * precision.itemsize
    except _UNREADABLE:
        return 0


def _weights(model: str, options: Options, dtype: str) -> int:
    path = FOLDER if model == TINY else Path(model).expanduser()
    if is_stored(model):
        path = kept_at(model, options.cache_dir, dtype)
        if not path.exists():
            return asyncio.run(_in_storage(model, options.region, dtype))
    if path.is_file():
        return _in_file(path)
    if path.is_dir():
        return _in_folder(path, dtype)
    return hub.count_weights(model, dtype, _in_file)


def _in_folder(folder: Path, dtype: str) -> int:
    index = folder / INDEX
    files = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    needed = needed_files(files, dtype, index.read_bytes() if index.exists() else None)
    return sum(_in_file(folder / file) for file in needed if is_weights(file))


def _in_file(file: Path) -> int:
    """Of one with tensors; those in a pickle, nobody looks."""
    with safe_open(file, framework="pt") as opened:
        names = list(opened.keys())
        return sum(prod(opened.get_slice(name).get_shape()) for name in names)


async def _in_storage(address: str, region: str, dtype: str) -> int:
    async with open_model(address, region) as stored:
        weights = [path for path in stored.needed(dtype) if is_weights(path)]
        return sum(await _in_objects(stored, weights))


async def _in_objects(stored: StoredModel, weights: Sequence[str]) -> list[int]:
    begins = await stored.read_parts(dict.fromkeys(weights, LENGTH_BYTES))
    lengths = {path: header_length(data) for path, (data, _) in begins.items()}
    headers = await stored.read_parts(lengths)
    return [_in_header(data) for data, _ in headers.values()]


def _in_header(data: bytes) -> int:
    entries: object = json.loads(data[LENGTH_BYTES:])
    if not isinstance(entries, Mapping):
        raise TypeError("no header")
    return sum(prod(entry["shape"]) for name, entry in entries.items() if name != "__metadata__")
