"""Weights, and with `fp8` activations, too, in eight bits: torchao's, if it is installed.

https://docs.pytorch.org/ao/stable/quick_start.html
"""

import importlib
from typing import Any, Final

import torch

from queue_agent_diffusers.options import Quantize
from queue_agent_diffusers.torch.compiled import repeated_blocks

MULTIPLE: Final = 16
"""Sides of matrices that fp8 multiplication takes are multiples of it."""


def quantize_blocks(network: Any, how: Quantize) -> int:
    """Quantise the linear layers of the repeated blocks; how many they were.

    What is around the blocks stays as it is: it is small, and errors there show most.

    Raises:
        Exception … as torchao raises it, before anything is changed: it does not work here.
    """
    ao: Any = importlib.import_module("torchao.quantization")
    weight = next(network.parameters())
    config = _config(ao, how, weight.dtype)
    probe = torch.nn.Linear(64, 64, device=weight.device, dtype=weight.dtype)
    ao.quantize_(probe, config)
    with torch.no_grad():
        probe(torch.ones(32, 64, device=weight.device, dtype=weight.dtype))
    chosen = {
        id(layer) for block in repeated_blocks(network) for layer in block.modules() if _fits(layer)
    }
    ao.quantize_(network, config, filter_fn=lambda layer, _name: id(layer) in chosen)
    return len(chosen)


def _fits(layer: torch.nn.Module) -> bool:
    if not isinstance(layer, torch.nn.Linear):
        return False
    return layer.in_features % MULTIPLE == 0 and layer.out_features % MULTIPLE == 0


def _config(ao: Any, how: Quantize, dtype: torch.dtype) -> Any:
    if how == "fp8-weights":
        return ao.Float8WeightOnlyConfig()
    # A scale for each row is more exact, and made for bfloat16 only.
    scales = ao.PerRow() if dtype == torch.bfloat16 else ao.PerTensor()
    return ao.Float8DynamicActivationFloat8WeightConfig(granularity=scales)
