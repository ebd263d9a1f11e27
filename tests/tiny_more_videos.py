"""Pipelines of more families of videos, of a few thousand random weights; see `tiny_videos`."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import torch
import transformers
from diffusers import guiders
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE

from queue_agent_diffusers.torch.siblings import library
from queue_agent_diffusers.torch.tiny import TEXT_WIDTH, new_tokenizer, text_config
from tiny_families import GEMMA_WIDTH, gemma2, gemma_tokenizer
from tiny_transformers import HEADS, qwen_sizes, qwen_tokenizer, t5, t5_tokenizer

CHANNELS: Final = 4
"""Of latents."""


def hunyuan_video() -> Any:
    """With guidance as a number, and masked prompts."""
    tokenizer = qwen_tokenizer()
    # Or the words before the prompt would be all that there is room for.
    tokenizer.add_tokens(sorted(set(DEFAULT_PROMPT_TEMPLATE["template"].split())))
    tokenizer.pad_token = "<|endoftext|>"
    return library.HunyuanVideoPipeline(
        text_encoder=transformers.LlamaModel(
            transformers.LlamaConfig(
                **{**qwen_sizes(TEXT_WIDTH, layers=3), "pad_token_id": 0, "vocab_size": 700}
            )
        ),
        tokenizer=tokenizer,
        text_encoder_2=transformers.CLIPTextModel(text_config(new_tokenizer())),
        tokenizer_2=new_tokenizer(),
        transformer=library.HunyuanVideoTransformer3DModel(
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            num_single_layers=2,
            num_refiner_layers=1,
            patch_size=1,
            text_embed_dim=TEXT_WIDTH,
            pooled_projection_dim=TEXT_WIDTH,
            rope_axes_dim=(4, 6, 6),
            **HEADS,
        ),
        vae=library.AutoencoderKLHunyuanVideo(
            latent_channels=CHANNELS,
            block_out_channels=(4,) * 4,
            layers_per_block=1,
            norm_num_groups=2,
            mid_block_add_attention=False,
        ),
        scheduler=library.FlowMatchEulerDiscreteScheduler(shift=7.0),
    )


def hunyuan_video_1_5() -> Any:
    """With a guider, and a second text encoder for what is to be written in the video."""
    pipeline = library.HunyuanVideo15Pipeline(
        text_encoder=transformers.Qwen2Model(
            transformers.Qwen2Config(**{**qwen_sizes(16, layers=3), "pad_token_id": 0})
        ),
        tokenizer=qwen_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=transformers.ByT5Tokenizer(extra_ids=0),
        transformer=library.HunyuanVideo15Transformer3DModel(
            in_channels=2 * CHANNELS + 1,
            out_channels=CHANNELS,
            num_refiner_layers=1,
            text_embed_dim=16,
            text_embed_2_dim=TEXT_WIDTH,
            image_embed_dim=8,
            rope_axes_dim=(4, 6, 6),
            target_size=64,
            **HEADS,
        ),
        vae=library.AutoencoderKLHunyuanVideo15(
            latent_channels=CHANNELS,
            block_out_channels=(8,) * 4,
            layers_per_block=1,
            spatial_compression_ratio=8,
            downsample_match_channel=False,
            upsample_match_channel=False,
        ),
        scheduler=library.FlowMatchEulerDiscreteScheduler(shift=5.0),
        guider=guiders.ClassifierFreeGuidance(guidance_scale=4.0),
    )
    with torch.no_grad():  # untrained, it would hardly heed the prompt
        first = pipeline.transformer.transformer_blocks[0]
        first.attn.add_v_proj.weight.mul_(50)
        first.norm1.linear.weight.mul_(10)
    # Or words of instruction would be all that there is room for.
    pipeline.system_message, pipeline.prompt_template_encode_start_idx = "", 0
    pipeline.tokenizer_max_length, pipeline.tokenizer_2_max_length = 64, 32
    pipeline.vision_num_semantic_tokens = 2
    return pipeline


def cog_video(kind: str = "CogVideoXPipeline", *, newer: bool = False) -> Any:
    """The newer has a rotary embedding, two latent frames in a token, and images an offset."""
    takes_image = kind == "CogVideoXImageToVideoPipeline"
    of_newer = {
        "patch_size_t": 2,
        "patch_bias": False,
        "use_rotary_positional_embeddings": True,
        "ofs_embed_dim": 8 if takes_image else None,
    }
    return getattr(library, kind)(
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
        transformer=library.CogVideoXTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=CHANNELS * 2 if takes_image else CHANNELS,
            out_channels=CHANNELS,
            time_embed_dim=8,
            text_embed_dim=TEXT_WIDTH,
            num_layers=2,
            sample_width=8,
            sample_height=8,
            sample_frames=9,
            **(of_newer if newer else {}),
        ),
        vae=library.AutoencoderKLCogVideoX(
            down_block_types=("CogVideoXDownBlock3D",) * 4,
            up_block_types=("CogVideoXUpBlock3D",) * 4,
            block_out_channels=(8,) * 4,
            latent_channels=CHANNELS,
            layers_per_block=1,
            norm_num_groups=2,
        ),
        scheduler=library.CogVideoXDPMScheduler() if newer else library.CogVideoXDDIMScheduler(),
    )


def mochi() -> Any:
    """Whose rows have as many tokens of text as their prompts."""
    return library.MochiPipeline(
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
        transformer=library.MochiTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=2,
            pooled_projection_dim=16,
            in_channels=12,
            text_embed_dim=TEXT_WIDTH,
            time_embed_dim=4,
        ),
        vae=library.AutoencoderKLMochi(
            latent_channels=12,
            out_channels=3,
            encoder_block_out_channels=(32,) * 4,
            decoder_block_out_channels=(32,) * 4,
            layers_per_block=(1,) * 5,
        ),
        scheduler=library.FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
    )


def ltx2() -> Any:
    """Of pictures and sounds."""
    attention = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1}
    connectors = {
        f"{stream}_connector_{name}": value
        for stream in ("video", "audio")
        for name, value in {**attention, "num_learnable_registers": None}.items()
    }
    mel_bins, audio_channels = 8, 2
    return library.LTX2Pipeline(
        text_encoder=gemma2(),
        tokenizer=gemma_tokenizer(),
        connectors=library.pipelines.ltx2.connectors.LTX2TextConnectors(
            caption_channels=GEMMA_WIDTH,
            text_proj_in_factor=3,
            connector_rope_base_seq_len=32,
            rope_double_precision=False,
            rope_type="split",
            **connectors,
        ),
        transformer=library.LTX2VideoTransformer3DModel(
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            num_attention_heads=2,
            attention_head_dim=8,
            cross_attention_dim=16,
            audio_in_channels=4,
            audio_out_channels=4,
            audio_num_attention_heads=2,
            audio_attention_head_dim=4,
            audio_cross_attention_dim=8,
            num_layers=2,
            caption_channels=GEMMA_WIDTH,
            rope_double_precision=False,
            rope_type="split",
        ),
        vae=library.AutoencoderKLLTX2Video(
            latent_channels=CHANNELS,
            block_out_channels=(8,) * 2,
            down_block_types=("LTX2VideoDownBlock3D",) * 2,
            decoder_block_out_channels=(8,) * 2,
            layers_per_block=(1,) * 3,
            decoder_layers_per_block=(1,) * 3,
            spatio_temporal_scaling=(True,) * 2,
            decoder_spatio_temporal_scaling=(True,) * 2,
            decoder_inject_noise=(False,) * 3,
            downsample_type=("spatiotemporal",) * 2,
            upsample_type=("spatiotemporal",) * 2,
            upsample_residual=(False,) * 2,
            upsample_factor=(1,) * 2,
            patch_size=4,
        ),
        audio_vae=library.AutoencoderKLLTX2Audio(
            base_channels=4,
            ch_mult=(1,),
            num_res_blocks=1,
            resolution=32,
            latent_channels=audio_channels,
            mel_bins=mel_bins,
        ),
        vocoder=library.pipelines.ltx2.vocoder.LTX2Vocoder(
            in_channels=audio_channels * mel_bins,
            hidden_channels=32,
            upsample_kernel_sizes=[4, 4],
            upsample_factors=[2, 2],
            resnet_kernel_sizes=[3],
            resnet_dilations=[[1, 3, 5]],
            output_sampling_rate=16000,
        ),
        scheduler=library.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


MORE_VIDEOS: Final[dict[str, Callable[[], Any]]] = {
    "LTX 2": ltx2,
    "HunyuanVideo": hunyuan_video,
    "HunyuanVideo 1.5": hunyuan_video_1_5,
    "CogVideoX": cog_video,
    "CogVideoX 1.5": partial(cog_video, newer=True),
    "CogVideoX from an image": partial(cog_video, "CogVideoXImageToVideoPipeline"),
    "CogVideoX 1.5 from an image": partial(cog_video, "CogVideoXImageToVideoPipeline", newer=True),
    "Mochi": mochi,
}
