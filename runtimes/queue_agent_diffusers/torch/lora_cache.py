"""LoRAs that requests may name: found in one folder, loaded when first asked for."""

import functools
import hashlib
import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from queue_agent_diffusers.engine.requests import LoraWeight
from queue_agent_diffusers.errors import InvalidRequest
from queue_agent_diffusers.torch.unreadable import UNREADABLE, raise_if_of_the_device

KEPT: Final = 8
"""How many stay loaded beside those in use."""
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,120}")
_SUFFIX: Final = ".safetensors"


class LoraCache:
    """The LoRAs of one model; only `.safetensors` files are read. None: there are none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._loaded: OrderedDict[str, str] = OrderedDict()
        """Adapter names by LoRA, the one used longest ago first."""
        self._applied: tuple[LoraWeight, ...] = ()
        self._numbers = 0

    def check(self, loras: Sequence[LoraWeight]) -> None:
        """Raise `InvalidRequest` for one that is not there."""
        for lora in loras:
            self._file(lora)
        if len({lora.name for lora in loras}) < len(loras):
            raise InvalidRequest("A LoRA is named twice.", param="loras")

    def digest(self, name: str) -> str:
        """SHA-256 of a LoRA's file; raises like `check`."""
        file = self._file(LoraWeight(name))
        state = file.stat()
        return _digest(file, state.st_mtime_ns, state.st_size)

    def apply(self, pipeline: Any, loras: tuple[LoraWeight, ...]) -> None:
        """Make exactly these act on the pipeline's weights.

        Raises:
            InvalidRequest: a file cannot be read, or is none for this model.
        """
        if loras == self._applied:
            return
        for lora in loras:
            self._load(pipeline, lora)
        if loras:
            names = [self._loaded[lora.name] for lora in loras]
            pipeline.enable_lora()
            pipeline.set_adapters(names, [lora.scale for lora in loras])
        else:
            pipeline.disable_lora()
        self._applied = loras
        self._forget(pipeline)

    def _load(self, pipeline: Any, lora: LoraWeight) -> None:
        if lora.name in self._loaded:
            self._loaded.move_to_end(lora.name)
            return
        file = self._file(lora)
        self._numbers += 1
        adapter = f"lora-{self._numbers}"
        try:
            pipeline.load_lora_weights(
                file.parent, weight_name=file.name, adapter_name=adapter, local_files_only=True
            )
            # What is for no part of the model is passed over, with a warning.
            if not _holds(pipeline, adapter):
                raise ValueError("none of its weights is for it")
        except UNREADABLE as error:
            self._applied = ()
            pipeline.disable_lora()
            if _holds(pipeline, adapter):  # a part of it
                pipeline.delete_adapters(adapter)
            raise_if_of_the_device(error)
            message = f"The LoRA {lora.name!r} cannot be used with this model: {error}"
            raise InvalidRequest(message, param="loras", code="lora_unreadable") from error
        self._loaded[lora.name] = adapter

    def _forget(self, pipeline: Any) -> None:
        in_use = {lora.name for lora in self._applied}
        spare = [name for name in self._loaded if name not in in_use]
        for name in spare[: max(0, len(spare) - KEPT)]:
            pipeline.delete_adapters(self._loaded.pop(name))

    def _file(self, lora: LoraWeight) -> Path:
        stem = lora.name.removesuffix(_SUFFIX)
        if self._folder is None or not _NAME.fullmatch(stem):
            raise InvalidRequest(f"There is no LoRA {lora.name!r}.", param="loras")
        file = self._folder / f"{stem}{_SUFFIX}"
        if not file.is_file():
            raise InvalidRequest(f"There is no LoRA {lora.name!r}.", param="loras")
        return file


def _holds(pipeline: Any, adapter: str) -> bool:
    return any(adapter in names for names in pipeline.get_list_adapters().values())


@functools.lru_cache(maxsize=64)
def _digest(file: Path, _changed: int, _size: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
