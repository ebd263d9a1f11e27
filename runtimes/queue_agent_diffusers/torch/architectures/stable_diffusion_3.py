"""Stable Diffusion 3 and 3.5: what is wanted and what is not are two rows of one call."""

from typing import Final

from queue_agent_diffusers.torch.architectures.architecture import Architecture
from queue_agent_diffusers.torch.forward import RowLayout

STABLE_DIFFUSION_3: Final = Architecture(
    pipelines=("StableDiffusion3Pipeline",),
    host_timesteps=True,
    layout=RowLayout(stacked=frozenset({"block_controlnet_hidden_states"})),
    doubled_above=1.0,
)
