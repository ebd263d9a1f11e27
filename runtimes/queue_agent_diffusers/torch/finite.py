"""Numbers that are none: NaN and infinity, of which pictures would be black or broken."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch

from queue_agent_diffusers.errors import NotFinite
from queue_agent_diffusers.torch.devices import dtype_name

_RANGES: Final = {
    torch.float16: "float16 ends at 65504: start the server with --dtype bfloat16, or with "
    "--dtype float32, which keeps the VAE in float32, too.",
}
_OTHERWISE: Final = "Is the guidance too high, or are the weights of a LoRA or of the model broken?"


def check_finite(latents: torch.Tensor, decoded: torch.Tensor) -> None:
    """Wait for both, and raise `NotFinite` where one of them holds what is no number.

    Pixels are to be checked before they are brought into their range, which hides infinity.
    """
    made, drawn = torch.stack([_finite(latents), _finite(decoded)]).tolist()
    if not made:
        raise _error("The latents", latents.dtype)
    if not drawn:
        raise _error("The pixels that the VAE made of finite latents", decoded.dtype)


@contextmanager
def finite_pictures() -> Iterator[None]:
    """Raise `NotFinite` where a pipeline makes pictures of NaN in the block, by NumPy's word."""
    told = _Told()
    with np.errstate(invalid="log", call=told):
        yield
    if told.of_casts:
        raise NotFinite(f"What the pipeline made holds NaN. {_OTHERWISE}")


class _Told:
    """What NumPy says of invalid values."""

    def __init__(self) -> None:
        self.of_casts = False

    def write(self, words: str) -> None:
        """As of a log; only pixels are made whole numbers of, other NaN may well be meant."""
        self.of_casts = self.of_casts or "cast" in words


def _finite(values: torch.Tensor) -> torch.Tensor:
    """By their bounds, which NaN spreads to, as that takes no memory."""
    return torch.stack(torch.aminmax(values)).isfinite().all()


def _error(what: str, dtype: torch.dtype) -> NotFinite:
    remedy = _RANGES.get(dtype, _OTHERWISE)
    return NotFinite(f"{what} hold NaN or infinity, in {dtype_name(dtype)}. {remedy}")
