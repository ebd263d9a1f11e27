"""Lumina 2: what is wanted and what is not are asked for one after the other.

A row's tokens are those of its prompt, then those of its image, and what pads both is masked.
"""

from typing import Final

from queue_agent_diffusers.torch.architectures.architecture import Architecture, Blocks
from queue_agent_diffusers.torch.suspended import NetworkCall

_PATCH: Final = 2
"""Cells of a latent a side that are one token in all models."""


def _tokens(call: NetworkCall) -> list[int]:
    height, width = call.arguments["hidden_states"].shape[-2:]
    own = (height // _PATCH) * (width // _PATCH)
    return [int(text) + own for text in call.arguments["encoder_attention_mask"].sum(dim=1)]


LUMINA2: Final = Architecture(
    pipelines=("Lumina2Pipeline",),
    blocks=Blocks(("layers",), lengths=_tokens, forms=((0, None),)),
)
