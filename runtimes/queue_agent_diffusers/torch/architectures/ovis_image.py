"""Ovis-Image: what is wanted and what is not are asked for one after the other.

Prompts are padded to one length, of which nothing is masked.
"""

from typing import Final

from queue_agent_diffusers.torch.architectures.architecture import Architecture, Blocks
from queue_agent_diffusers.torch.forward import RowLayout

OVIS_IMAGE: Final = Architecture(
    pipelines=("OvisImagePipeline",),
    layout=RowLayout(shared=frozenset({"txt_ids", "img_ids"})),
    blocks=Blocks(
        ("transformer_blocks", "single_transformer_blocks"),
        frozenset({"image_rotary_emb"}),
        forms=((1, 0), (1, 0)),
    ),
)
