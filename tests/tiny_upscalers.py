"""Upscalers of diffusers with random weights.

`python tests/tiny_upscalers.py FOLDER` writes one.
"""

import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTextModel

from queue_agent_diffusers.torch.siblings import library
from queue_agent_diffusers.torch.tiny import TEXT_WIDTH, new_tokenizer, text_config


@cache
def tiny_upscaler(factor: int) -> Any:
    """The pipeline that makes sides so many times as long: 2 or 4."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = _by_four() if factor == 4 else _by_two()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _by_four() -> Any:
    return library.StableDiffusionUpscalePipeline(
        **_text(),
        unet=library.UNet2DConditionModel(
            sample_size=16,
            in_channels=7,  # those of the latents and of the image
            out_channels=4,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            attention_head_dim=4,
            norm_num_groups=4,
            cross_attention_dim=TEXT_WIDTH,
            num_class_embeds=1000,  # levels of noise
        ),
        vae=_vae(3, scaling_factor=0.08333),
        low_res_scheduler=library.DDPMScheduler(),
        scheduler=library.DDIMScheduler(),
    )


def _by_two() -> Any:
    return library.StableDiffusionLatentUpscalePipeline(
        **_text(),
        unet=library.UNet2DConditionModel(
            sample_size=16,
            act_fn="gelu",
            attention_head_dim=8,
            norm_num_groups=None,
            block_out_channels=[32, 32, 64, 64],
            time_cond_proj_dim=128 + TEXT_WIDTH,
            conv_in_kernel=1,
            conv_out_kernel=1,
            cross_attention_dim=TEXT_WIDTH,
            down_block_types=("KDownBlock2D",) + ("KCrossAttnDownBlock2D",) * 3,
            in_channels=8,
            mid_block_type=None,
            only_cross_attention=False,
            out_channels=5,
            resnet_time_scale_shift="scale_shift",
            time_embedding_type="fourier",
            timestep_post_act="gelu",
            up_block_types=("KCrossAttnUpBlock2D",) * 3 + ("KUpBlock2D",),
        ),
        vae=_vae(4),
        scheduler=library.EulerDiscreteScheduler(prediction_type="sample"),
    )


def _text() -> dict[str, Any]:
    tokenizer = new_tokenizer()
    return {"tokenizer": tokenizer, "text_encoder": CLIPTextModel(text_config(tokenizer)).eval()}


def _vae(levels: int, **options: object) -> Any:
    return library.AutoencoderKL(
        block_out_channels=(8,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        **options,
    )


def main() -> None:
    tiny_upscaler(4).save_pretrained(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
