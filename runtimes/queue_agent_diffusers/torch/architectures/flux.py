"""Flux.1: guidance is a number that the transformer is given, so an image has one row.

With `true_cfg_scale` and a negative prompt the pipeline asks twice a step. What is painted in or
edited is a part of the rows: more channels of each token, or more tokens.
"""

from typing import Final

from queue_agent_diffusers.torch.architectures.architecture import Architecture, Blocks
from queue_agent_diffusers.torch.forward import RowLayout

FLUX: Final = Architecture(
    pipelines=("FluxPipeline", "FluxFillPipeline", "FluxKontextPipeline"),
    layout=RowLayout(
        shared=frozenset({"txt_ids", "img_ids"}),
        stacked=frozenset(
            {
                "controlnet_block_samples",
                "controlnet_single_block_samples",
                "ip_adapter_image_embeds",
            }
        ),
    ),
    blocks=Blocks(
        ("transformer_blocks", "single_transformer_blocks"), frozenset({"image_rotary_emb"})
    ),
)
