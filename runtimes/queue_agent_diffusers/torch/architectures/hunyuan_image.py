"""HunyuanImage 2.1: its guider says what is asked for in a step, one after the other.

Prompts are padded to one length, and masks have an entry for each token of each row.
"""

from typing import Final

from queue_agent_diffusers.torch.architectures.architecture import Architecture, Blocks

HUNYUAN_IMAGE: Final = Architecture(
    pipelines=("HunyuanImagePipeline",),
    blocks=Blocks(
        ("transformer_blocks", "single_transformer_blocks"), frozenset({"image_rotary_emb"})
    ),
)
