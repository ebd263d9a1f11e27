"""What libraries raise or make up for files that are none for a model, and whose fault it is."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError

from queue_agent.runtime.failures import is_beyond_repair
from queue_agent_diffusers.torch.memory import is_out_of_memory

UNREADABLE: Final = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    RuntimeError,
    SafetensorError,
)
"""They look at names and shapes by hope."""
_NAMED: Final = 3
"""Missing weights that are named; there may be thousands."""


def raise_if_of_the_device(error: Exception) -> None:
    """Raise it again where memory ran out, or the device broke, while the file was read."""
    if isinstance(error, RuntimeError) and (
        is_out_of_memory(error) or is_beyond_repair(str(error))
    ):
        raise error


def whole_model(made: tuple[Any, Mapping[str, Collection[str]]], folder: Path) -> Any:
    """What `from_pretrained` made with ``output_loading_info``, if no weight of it is made up.

    Raises:
        ValueError: the folder lacks some.
    """
    model, told = made
    missing = sorted(told["missing_keys"])
    if missing:
        named = ", ".join([*missing[:_NAMED], *["…"] * (len(missing) > _NAMED)])
        raise ValueError(f"{folder.name} lacks {len(missing)} of its weights: {named}")
    return model
