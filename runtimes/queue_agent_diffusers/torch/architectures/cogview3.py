"""CogView3+: what is wanted and what is not are two rows of one call, if guidance is above 1.

Prompts are padded to one length, of which nothing is masked.
"""

from typing import Final

from queue_agent_diffusers.torch.architectures.architecture import Architecture, Blocks

COGVIEW3: Final = Architecture(
    host_timesteps=True,
    pipelines=("CogView3PlusPipeline",),
    doubled_above=1.0,
    blocks=Blocks(forms=((0, 1),)),
)
