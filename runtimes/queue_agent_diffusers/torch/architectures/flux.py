"""Flux.1: guidance is a number that the transformer is given, so an image has one row.

With `true_cfg_scale` and a negative prompt the pipeline asks twice a step.
"""

from typing import Final

from queue_agent_diffusers.torch.architectures.architecture import Architecture
from queue_agent_diffusers.torch.forward import Layout

FLUX: Final = Architecture(
    pipelines=("FluxPipeline",),
    layout=Layout(shared=frozenset({"txt_ids", "img_ids"})),
)
