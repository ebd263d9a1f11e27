"""Chroma: what is wanted and what is not are asked for one after the other, if guidance is above 1.

Prompts are padded to one length, and a mask has an entry for each token of each row.
"""

from typing import Final

from queue_agent_diffusers.torch.architectures.architecture import Architecture, Blocks
from queue_agent_diffusers.torch.forward import RowLayout

CHROMA: Final = Architecture(
    pipelines=("ChromaPipeline",),
    layout=RowLayout(shared=frozenset({"txt_ids", "img_ids"})),
    blocks=Blocks(
        ("transformer_blocks", "single_transformer_blocks"),
        frozenset({"image_rotary_emb"}),
        forms=((1, 0), (0, None)),
    ),
)
