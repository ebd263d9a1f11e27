"""Flux.2: guidance is a number that the transformer is given, if it is not distilled to none.

Positions have an entry for each row, of which the transformer reads the first. The small
(`klein`) models that are not distilled ask twice a step.
"""

from typing import Final

from queue_agent_diffusers.torch.architectures.architecture import Architecture, Blocks
from queue_agent_diffusers.torch.forward import RowLayout

FLUX2: Final = Architecture(
    pipelines=("Flux2Pipeline", "Flux2KleinPipeline"),
    layout=RowLayout(shared=frozenset({"txt_ids", "img_ids"})),
    blocks=Blocks(
        ("transformer_blocks", "single_transformer_blocks"), frozenset({"image_rotary_emb"})
    ),
)
