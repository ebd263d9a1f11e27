"""Transformer pipelines of a few thousand random weights, built from configurations alone."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import torch
import transformers

from queue_agent_diffusers.torch.siblings import library
from queue_agent_diffusers.torch.tiny import TEXT_WIDTH, new_tokenizer, text_config

HEADS: Final = {"num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2}
CHAT: Final = "{% for message in messages %}user {{ message['content'] }}{% endfor %}"
LATENT_CHANNELS: Final = 16
"""Of Stable Diffusion 3, whose inpainting pipeline takes no other number."""


@cache
def tiny_transformer(name: str) -> Any:
    """The pipeline of that class."""
    return built(BUILDERS[name])


def built(build: Callable[[], Any]) -> Any:
    """A pipeline to generate with; the same weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = build()
    pipeline.set_progress_bar_config(disable=True)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    return pipeline


def flux(kind: str = "FluxPipeline", *, in_channels: int = 4) -> Any:
    """With guidance as a number."""
    return getattr(library, kind)(
        text_encoder=transformers.CLIPTextModel(text_config(new_tokenizer())),
        tokenizer=new_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(),
        transformer=library.FluxTransformer2DModel(
            patch_size=1,
            in_channels=in_channels,
            out_channels=4,
            num_single_layers=1,
            joint_attention_dim=TEXT_WIDTH,
            pooled_projection_dim=TEXT_WIDTH,
            axes_dims_rope=[4, 4, 8],
            guidance_embeds=True,
            **HEADS,
        ),
        vae=plain_vae(1, shift_factor=0.06, scaling_factor=1.5),
        scheduler=library.FlowMatchEulerDiscreteScheduler(),
    )


def flux_fill() -> Any:
    """Beside the noise, a row has the masked image's latents and the mask."""
    return flux("FluxFillPipeline", in_channels=4 + 4 + 4)


def flux_kontext() -> Any:
    """Tokens of the image to edit stand after those of the noise."""
    return flux("FluxKontextPipeline")


def flux2() -> Any:
    """One of the small models."""
    return library.Flux2KleinPipeline(
        text_encoder=transformers.Qwen3ForCausalLM(qwen3_config(8, layers=28)),
        tokenizer=qwen_tokenizer(),
        transformer=library.Flux2Transformer2DModel(
            patch_size=1,
            in_channels=4,
            num_single_layers=1,
            joint_attention_dim=24,  # of three layers of the text encoder
            timestep_guidance_channels=32,
            axes_dims_rope=[4, 4, 4, 4],
            **HEADS,
        ),
        vae=library.AutoencoderKLFlux2(
            sample_size=32,
            block_out_channels=(4,),
            layers_per_block=1,
            latent_channels=1,
            norm_num_groups=1,
            down_block_types=("DownEncoderBlock2D",),
            up_block_types=("UpDecoderBlock2D",),
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        scheduler=library.FlowMatchEulerDiscreteScheduler(),
    )


def stable_diffusion_3() -> Any:
    """Without the third text encoder, as it may be."""
    return library.StableDiffusion3Pipeline(
        text_encoder=transformers.CLIPTextModelWithProjection(text_config(new_tokenizer())),
        tokenizer=new_tokenizer(),
        text_encoder_2=transformers.CLIPTextModelWithProjection(text_config(new_tokenizer())),
        tokenizer_2=new_tokenizer(),
        text_encoder_3=None,
        tokenizer_3=None,
        transformer=library.SD3Transformer2DModel(
            sample_size=32,
            patch_size=1,
            in_channels=LATENT_CHANNELS,
            caption_projection_dim=32,
            joint_attention_dim=2 * TEXT_WIDTH,
            pooled_projection_dim=2 * TEXT_WIDTH,
            out_channels=LATENT_CHANNELS,
            **HEADS,
        ),
        vae=plain_vae(LATENT_CHANNELS, shift_factor=0.06, scaling_factor=1.5),
        scheduler=library.FlowMatchEulerDiscreteScheduler(),
    )


def qwen_image() -> Any:
    """With prompts of any length."""
    width = 16
    return library.QwenImagePipeline(
        text_encoder=transformers.Qwen2_5_VLForConditionalGeneration(
            transformers.Qwen2_5_VLConfig(
                text_config=qwen_sizes(width)
                | {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}},
                vision_config={
                    "depth": 1,
                    "hidden_size": width,
                    "intermediate_size": width,
                    "num_heads": 2,
                    "out_hidden_size": width,
                },
            )
        ),
        tokenizer=qwen_tokenizer(),
        transformer=library.QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=16,
            out_channels=4,
            joint_attention_dim=width,
            axes_dims_rope=(8, 4, 4),
            **HEADS,
        ),
        vae=qwen_vae(),
        scheduler=library.FlowMatchEulerDiscreteScheduler(),
    )


def qwen_vae() -> Any:
    """That makes videos, of one frame here."""
    return library.AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )


def pixart() -> Any:
    """With learned variance."""
    return library.PixArtSigmaPipeline(
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
        transformer=library.PixArtTransformer2DModel(
            sample_size=32,
            patch_size=2,
            in_channels=4,
            out_channels=8,
            caption_channels=TEXT_WIDTH,
            cross_attention_dim=32,
            use_additional_conditions=False,
            **HEADS,
        ),
        vae=plain_vae(4, levels=4),
        scheduler=library.DPMSolverMultistepScheduler(),
    )


def z_image() -> Any:
    """With rows as lists."""
    width = 16
    return library.ZImagePipeline(
        text_encoder=transformers.Qwen3Model(qwen3_config(width)),
        tokenizer=qwen_tokenizer(),
        transformer=library.ZImageTransformer2DModel(
            all_patch_size=(2,),
            all_f_patch_size=(1,),
            in_channels=4,
            dim=32,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=width,
            axes_dims=[8, 4, 4],
            axes_lens=[256, 64, 64],
        ),
        vae=plain_vae(4, levels=2, shift_factor=0.1, scaling_factor=0.4),
        scheduler=library.FlowMatchEulerDiscreteScheduler(),
    )


BUILDERS: Final[dict[str, Callable[[], Any]]] = {
    "Flux": flux,
    "Flux Fill": flux_fill,
    "Flux Kontext": flux_kontext,
    "Flux.2": flux2,
    "Stable Diffusion 3": stable_diffusion_3,
    "Qwen-Image": qwen_image,
    "PixArt": pixart,
    "Z-Image": z_image,
}


def plain_vae(channels: int, *, levels: int = 1, **options: object) -> Any:
    """An autoencoder of so many latent channels that halves a side `levels - 1` times."""
    return library.AutoencoderKL(
        sample_size=32,
        block_out_channels=(4,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
        **options,
    )


def t5() -> Any:
    """A text encoder with an output of `TEXT_WIDTH`."""
    return transformers.T5EncoderModel(
        transformers.T5Config(
            vocab_size=300,
            d_model=TEXT_WIDTH,
            d_kv=8,
            d_ff=32,
            num_layers=1,
            num_heads=4,
        )
    )


def t5_tokenizer() -> Any:
    """Of letters."""
    letters = [(letter, -float(number)) for number, letter in enumerate("▁abcdefghijklmnoprstuvw")]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return transformers.T5Tokenizer(vocab=[*special, *letters], extra_ids=0, model_max_length=300)


def qwen_tokenizer() -> Any:
    """Of bytes."""
    of_bytes = new_tokenizer()
    vocabulary = {
        token: number
        for number, token in enumerate(
            [*(token for token in of_bytes.get_vocab() if "</w>" not in token), "<|im_end|>"]
        )
    }
    return transformers.Qwen2Tokenizer(
        vocab=vocabulary, merges=[], model_max_length=512, chat_template=CHAT
    )


def qwen_sizes(width: int, *, layers: int = 2) -> dict[str, Any]:
    """Of a text encoder with an output of that width."""
    return {
        "vocab_size": 600,
        "hidden_size": width,
        "intermediate_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1200,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def qwen3_config(width: int, *, layers: int = 3) -> Any:
    """Likewise."""
    return transformers.Qwen3Config(**qwen_sizes(width, layers=layers), head_dim=8)
