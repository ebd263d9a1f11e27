"""Pipelines of more families, of a few thousand random weights, built from configurations alone."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final

import transformers

from queue_agent_diffusers.torch.processors import without_videos
from queue_agent_diffusers.torch.siblings import library
from tiny_transformers import (
    CHAT,
    HEADS,
    built,
    qwen_sizes,
    qwen_tokenizer,
    qwen_vae,
)

_VISION: Final = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")


@cache
def tiny_family(name: str) -> Any:
    """The pipeline of that name."""
    return built(BUILDERS[name])


def qwen_image_edit(kind: str = "QwenImageEditPipeline", *, zero_cond_t: bool = False) -> Any:
    """Tokens of the image to edit stand after those of the noise; the text encoder sees it, too."""
    width = 16
    tokenizer = qwen_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(_VISION)})
    ids = tokenizer.convert_tokens_to_ids(list(_VISION))
    sees = transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(
            text_config=qwen_sizes(width)
            | {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}},
            vision_config={
                "depth": 1,
                "hidden_size": width,
                "intermediate_size": width,
                "num_heads": 2,
                "out_hidden_size": width,
                "fullatt_block_indexes": [0],
            },
            image_token_id=ids[0],
            video_token_id=ids[1],
            vision_start_token_id=ids[2],
            vision_end_token_id=ids[3],
        )
    )
    seen = transformers.Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=56 * 56)
    return getattr(library, kind)(
        text_encoder=sees,
        tokenizer=tokenizer,
        processor=without_videos("Qwen2VLProcessor")(seen, tokenizer, chat_template=CHAT),
        transformer=library.QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=16,
            out_channels=4,
            joint_attention_dim=width,
            axes_dims_rope=(8, 4, 4),
            zero_cond_t=zero_cond_t,
            **HEADS,
        ),
        vae=qwen_vae(),
        scheduler=library.FlowMatchEulerDiscreteScheduler(),
    )


BUILDERS: Final[dict[str, Callable[[], Any]]] = {
    "Qwen-Image-Edit": qwen_image_edit,
    "Qwen-Image-Edit-Plus": partial(qwen_image_edit, "QwenImageEditPlusPipeline", zero_cond_t=True),
}
