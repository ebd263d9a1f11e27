"""Running out of the device's memory: recognising it, and cleaning up after it."""

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.errors import OutOfMemory
from queue_agent_diffusers.torch.host_memory import HostMemory


def is_out_of_memory(error: BaseException) -> bool:
    """Whether that is what the error says; on the CPU torch says so in words only."""
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or "can't allocate memory" in str(error)
        or "out of memory" in str(error)
    )


@contextmanager
def memory_watched(images: int, request: ImageRequest) -> Iterator[None]:
    """Raise `OutOfMemory` where the block runs out of it; other errors pass."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        release_memory()
        size = f" of {request.width}x{request.height}" if request.width else ""
        raise OutOfMemory(f"{images} image(s){size} do not fit in the device's memory.") from error


def release_memory() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    trim_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def trim_memory() -> None:
    """Have the C library give back what it keeps, where it can (glibc)."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def free_memory(device: torch.device) -> int | None:
    """Bytes that work on the host may take now; None where nobody tells, and of other devices."""
    return HostMemory.read().free if device.type == "cpu" else None


def weight_bytes(pipeline: object, device: torch.device | None = None) -> int:
    """Bytes of a pipeline's weights, of all or of those that lie on the device."""
    components: dict[str, object] = getattr(pipeline, "components", {})
    modules = [part for part in components.values() if isinstance(part, torch.nn.Module)]
    tensors = {
        tensor.data_ptr(): tensor.numel() * tensor.element_size()
        for module in modules
        for tensor in module.parameters()
        if device is None or tensor.device == device
    }
    return sum(tensors.values())


def device_memory() -> float:
    """Bytes that torch has taken of the CUDA device's memory; 0 on other devices."""
    return float(torch.cuda.memory_reserved()) if torch.cuda.is_available() else 0.0


def default_budget(device: torch.device) -> int:
    """Bytes that weights may take together: what leaves room to work with them."""
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        return cuda_budget(free, torch.cuda.memory_reserved(device))
    limit = HostMemory.read().limit
    if limit is None:
        limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return limit // 2


def cuda_budget(free: int, taken: int) -> int:
    """Of what nobody has, and what this process has: what others have of the card is theirs."""
    return int((free + taken) * 0.7)
