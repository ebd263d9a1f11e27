"""AuraFlow: what is wanted and what is not are two rows of one call."""

from typing import Final

from queue_agent_diffusers.torch.architectures.architecture import Architecture, Blocks

AURA_FLOW: Final = Architecture(
    pipelines=("AuraFlowPipeline",),
    host_timesteps=True,
    doubled_above=1.0,
    blocks=Blocks(
        ("joint_transformer_blocks", "single_transformer_blocks"), forms=((1, 0), (0, None))
    ),
)
