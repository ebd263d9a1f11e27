"""What libraries raise for files that are none for a model, and what is no fault of the files."""

from typing import Final

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


def raise_if_of_the_device(error: Exception) -> None:
    """Raise it again where memory ran out, or the device broke, while the file was read."""
    if isinstance(error, RuntimeError) and (
        is_out_of_memory(error) or is_beyond_repair(str(error))
    ):
        raise error
