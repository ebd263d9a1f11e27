"""Video pipelines of a few thousand random weights, built from configurations alone.

`python tests/tiny_videos.py FOLDER NAME` saves one.
"""

import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import transformers

from queue_agent_diffusers.torch.siblings import library
from queue_agent_diffusers.torch.tiny import TEXT_WIDTH
from tiny_more_videos import MORE_VIDEOS
from tiny_transformers import built, t5, t5_tokenizer

CHANNELS: Final = 4
"""Of Wan's latents."""


@cache
def tiny_video(name: str) -> Any:
    """The pipeline of that name."""
    return built(BUILDERS[name])


def wan() -> Any:
    """Wan 2.1, from text."""
    return library.WanPipeline(**_wan_parts(), transformer=_wan_transformer())


def wan_of_two() -> Any:
    """The large Wan 2.2, whose second transformer takes over in the middle."""
    return library.WanPipeline(
        **_wan_parts(),
        transformer=_wan_transformer(),
        transformer_2=_wan_transformer(),
        boundary_ratio=0.8,
    )


def wan_from_image() -> Any:
    """The large Wan 2.2 that begins with an image."""
    return library.WanImageToVideoPipeline(
        **_wan_parts(), transformer=_wan_transformer(in_channels=2 * CHANNELS + 4)
    )


def wan_with_eyes(*, two: bool = False) -> Any:
    """Wan 2.1, which has the image or, if it is one for `two`, both seen by CLIP."""
    sees = transformers.CLIPVisionConfig(
        hidden_size=8,
        projection_dim=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        intermediate_size=16,
        patch_size=16,
    )
    return library.WanImageToVideoPipeline(
        **_wan_parts(),
        image_encoder=transformers.CLIPVisionModel(sees),
        image_processor=transformers.CLIPImageProcessor(crop_size=32, size=32),
        transformer=_wan_transformer(
            in_channels=2 * CHANNELS + 4,
            image_dim=8,
            added_kv_proj_dim=24,
            pos_embed_seq_len=2 * 5 if two else None,
        ),
    )


def wan_of_tokens() -> Any:
    """The small Wan 2.2, with a time for each token."""
    return library.WanPipeline(
        **_wan_parts(), transformer=_wan_transformer(), expand_timesteps=True
    )


def ltx() -> Any:
    """LTX-Video 0.9."""
    return library.LTXPipeline(**_ltx_parts(timed=False))


def ltx_with_conditions() -> Any:
    """LTX-Video since 0.9.5, whose autoencoder is told a time."""
    return library.LTXConditionPipeline(**_ltx_parts(timed=True))


BUILDERS: Final[dict[str, Callable[[], Any]]] = {
    "Wan": wan,
    "Wan of two transformers": wan_of_two,
    "Wan from an image": wan_from_image,
    "Wan with eyes": wan_with_eyes,
    "Wan with eyes for two": partial(wan_with_eyes, two=True),
    "Wan of tokens": wan_of_tokens,
    "LTX": ltx,
    "LTX with conditions": ltx_with_conditions,
    **MORE_VIDEOS,
}


def _wan_parts() -> dict[str, Any]:
    return {
        "text_encoder": transformers.UMT5EncoderModel(
            transformers.UMT5Config(
                vocab_size=300, d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=4
            )
        ),
        "tokenizer": t5_tokenizer(),
        "vae": library.AutoencoderKLWan(
            base_dim=4,
            z_dim=CHANNELS,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
            latents_mean=[0.1] * CHANNELS,
            latents_std=[1.5] * CHANNELS,
        ),
        "scheduler": library.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    }


def _wan_transformer(**options: Any) -> Any:
    return library.WanTransformer3DModel(
        **{
            "patch_size": (1, 2, 2),
            "num_attention_heads": 2,
            "attention_head_dim": 12,
            "in_channels": CHANNELS,
            "out_channels": CHANNELS,
            "text_dim": TEXT_WIDTH,
            "freq_dim": 16,
            "ffn_dim": 32,
            "num_layers": 2,
            "rope_max_seq_len": 64,
            **options,
        }
    )


def _ltx_parts(*, timed: bool) -> dict[str, Any]:
    channels, layers = (8,) * 4, (1,) * 5
    return {
        "text_encoder": t5(),
        "tokenizer": t5_tokenizer(),
        "transformer": library.LTXVideoTransformer3DModel(
            in_channels=8,
            out_channels=8,
            num_attention_heads=2,
            attention_head_dim=16,
            cross_attention_dim=32,
            num_layers=2,
            caption_channels=TEXT_WIDTH,
        ),
        "vae": library.AutoencoderKLLTXVideo(
            latent_channels=8,
            block_out_channels=channels,
            decoder_block_out_channels=channels,
            layers_per_block=layers,
            decoder_layers_per_block=layers,
            spatio_temporal_scaling=(True, True, True, False),
            decoder_spatio_temporal_scaling=(True, True, True, False),
            timestep_conditioning=timed,
        ),
        "scheduler": library.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=not timed),
    }


if __name__ == "__main__":
    tiny_video(sys.argv[2]).save_pretrained(Path(sys.argv[1]))
