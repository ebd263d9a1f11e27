"""The device that models run on, and the precision of their weights there."""

from typing import Final

import torch

from queue_agent_diffusers.errors import DeviceUnavailable
from queue_agent_diffusers.options import Options

DTYPES: Final = {
    "float16": torch.float16,
    "fp16": torch.float16,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float32": torch.float32,
    "fp32": torch.float32,
}


def precision_of(options: Options) -> torch.dtype:
    """What weights are loaded in.

    Raises:
        DeviceUnavailable: there is no such device or precision.
    """
    return choose_dtype(options.dtype, choose_device(options.device))


def choose_device(asked: str | None) -> torch.device:
    """That which is asked for; None: cuda, mps or cpu, the first there is.

    Raises:
        DeviceUnavailable: it cannot be used here.
    """
    if asked is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(asked)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceUnavailable(f"Device {asked!r} cannot be used here: {reason}") from error
    return device


def choose_dtype(asked: str | None, device: torch.device) -> torch.dtype:
    """That which is asked for; None: float16 on cuda, else float32.

    Raises:
        DeviceUnavailable: there is none of that name.
    """
    if asked is None:
        return torch.float16 if device.type == "cuda" else torch.float32
    try:
        return DTYPES[asked]
    except KeyError:
        raise DeviceUnavailable(
            f"Unknown dtype {asked!r}; known: {', '.join(sorted(DTYPES))}."
        ) from None


def dtype_name(dtype: torch.dtype) -> str:
    """As options call it."""
    return str(dtype).removeprefix("torch.")
