"""Qwen-Image and its editors: prompts are as long as they are, one frame is a picture.

With `true_cfg_scale` and a negative prompt the pipeline asks twice a step. What pads a shorter
prompt is masked in attention and has positions after its end, so it changes nothing but rounding.
Of an image to edit there are more tokens in a row, and in the newer editors they are at a time of
their own, for which each row has a second entry.
"""

from typing import Any, Final

import torch

from queue_agent_diffusers.torch.architectures.architecture import Architecture, Blocks
from queue_agent_diffusers.torch.forward import RowLayout


def _first_frame(_processor: Any, decoded: torch.Tensor) -> torch.Tensor:
    return decoded[:, :, 0]


QWEN_IMAGE: Final = Architecture(
    pipelines=("QwenImagePipeline", "QwenImageEditPipeline", "QwenImageEditPlusPipeline"),
    layout=RowLayout(
        stacked=frozenset({"controlnet_block_samples"}),
        padded={"encoder_hidden_states": "encoder_hidden_states_mask"},
    ),
    blocks=Blocks(shared=frozenset({"image_rotary_emb"}), halves=frozenset({"temb"})),
    finish=lambda _width, _height: _first_frame,
)
