"""What a device could do at most: how fast it multiplies matrices, and what a step takes."""

import time
from typing import Final

import torch
from torch.utils.flop_counter import FlopCounterMode

from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.torch.batched import BatchedModel

_SIDES: Final = {"cuda": 8192}
_SMALL_SIDE: Final = 512
"""On other devices."""
_TIMES: Final = 50


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second that the device reaches when it multiplies large matrices."""
    side = _SIDES.get(device.type, _SMALL_SIDE)
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    for _ in range(5):
        one @ other
    _finish(device)
    began = time.monotonic()
    for _ in range(_TIMES):
        one @ other
    _finish(device)
    return 2 * side**3 * _TIMES / (time.monotonic() - began)


def step_operations(model: BatchedModel, request: ImageRequest) -> int:
    """Operations of one step of one image, as torch counts them: the network's pass alone."""
    [sample] = model.begin(request, lambda _, __: None)
    sample.start()
    try:
        with FlopCounterMode(display=False) as counter:
            model.predict([sample])
        operations: int = counter.get_total_flops()
    finally:
        sample.stop()
    return operations


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
