"""Stable Diffusion 3 and 3.5: what is wanted and what is not are two rows of one call."""

from typing import Final

from queue_agent_diffusers.torch.architectures.architecture import Architecture

STABLE_DIFFUSION_3: Final = Architecture(pipelines=("StableDiffusion3Pipeline",), doubled_above=1.0)
