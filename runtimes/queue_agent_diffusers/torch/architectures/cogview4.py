"""CogView4: what is wanted and what is not are asked for one after the other.

Prompts are padded to multiples of 16 tokens, of which nothing is masked: those of other lengths do
not share a pass.
"""

from typing import Final

from queue_agent_diffusers.torch.architectures.architecture import Architecture, Blocks

COGVIEW4: Final = Architecture(
    host_timesteps=True,
    pipelines=("CogView4Pipeline",),
    blocks=Blocks(shared=frozenset({"image_rotary_emb"})),
)
