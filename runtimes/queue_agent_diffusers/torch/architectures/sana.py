"""Sana: made at the nearest trained size, as PixArt's images are, and cut to the one asked for.

Of Sana Sprint, guidance is a number that the transformer is given, so an image has one row.
"""

from typing import Any, Final

import torch

from queue_agent_diffusers.torch.architectures.architecture import Architecture, Blocks
from queue_agent_diffusers.torch.architectures.cells import image_cells
from queue_agent_diffusers.torch.architectures.pixart import cut_to_size


def _sprint_cells(pipeline: Any, latents: torch.Tensor, *shape: int) -> torch.Tensor:
    """As they are once they are no longer as wide as the noise."""
    return image_cells(pipeline, latents / pipeline.scheduler.config.sigma_data, *shape)


SANA: Final = Architecture(
    pipelines=("SanaPipeline",),
    doubled_above=1.0,
    blocks=Blocks(forms=((0, None),)),
    finish=cut_to_size,
)

SANA_SPRINT: Final = Architecture(
    pipelines=("SanaSprintPipeline",),
    blocks=SANA.blocks,
    finish=cut_to_size,
    cells=_sprint_cells,
)
