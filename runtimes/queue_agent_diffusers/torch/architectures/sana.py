"""Sana: made at the nearest trained size, as PixArt's images are, and cut to the one asked for."""

from typing import Final

from queue_agent_diffusers.torch.architectures.architecture import Architecture, Blocks
from queue_agent_diffusers.torch.architectures.pixart import cut_to_size

SANA: Final = Architecture(
    pipelines=("SanaPipeline",),
    doubled_above=1.0,
    blocks=Blocks(forms=((0, None),)),
    finish=cut_to_size,
)
