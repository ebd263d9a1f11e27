"""Pipelines of more families, of a few thousand random weights, built from configurations alone."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final

import torch
import transformers
from diffusers import guiders

from queue_agent_diffusers.torch.processors import without_videos
from queue_agent_diffusers.torch.siblings import library
from queue_agent_diffusers.torch.tiny import TEXT_WIDTH, new_tokenizer, text_config
from tiny_transformers import (
    CHAT,
    HEADS,
    built,
    plain_vae,
    qwen3_config,
    qwen_sizes,
    qwen_tokenizer,
    qwen_vae,
    t5,
    t5_tokenizer,
)

GEMMA_WIDTH: Final = 16
_VISION: Final = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")


@cache
def tiny_family(name: str) -> Any:
    """The pipeline of that name."""
    return built(BUILDERS[name])


def qwen_image_edit(kind: str = "QwenImageEditPipeline", *, zero_cond_t: bool = False) -> Any:
    """Tokens of the image to edit stand after those of the noise; the text encoder sees it, too."""
    tokenizer = vision_tokenizer()
    return getattr(library, kind)(
        text_encoder=vision_model(tokenizer),
        tokenizer=tokenizer,
        processor=vision_processor(tokenizer),
        transformer=library.QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=16,
            out_channels=4,
            joint_attention_dim=16,
            axes_dims_rope=(8, 4, 4),
            zero_cond_t=zero_cond_t,
            **HEADS,
        ),
        vae=qwen_vae(),
        scheduler=library.FlowMatchEulerDiscreteScheduler(),
    )


def chroma() -> Any:
    """What pads a prompt is masked; what is not wanted is asked for by itself."""
    return library.ChromaPipeline(
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
        transformer=library.ChromaTransformer2DModel(
            in_channels=4,
            joint_attention_dim=TEXT_WIDTH,
            num_single_layers=2,
            axes_dims_rope=(4, 4, 8),
            approximator_num_channels=8,
            approximator_hidden_dim=16,
            approximator_layers=1,
            **HEADS,
        ),
        vae=plain_vae(1, shift_factor=0.06, scaling_factor=1.5),
        scheduler=library.FlowMatchEulerDiscreteScheduler(),
    )


def sana() -> Any:
    """Made at a trained size, of cells of 32 pixels, and cut to the one asked for."""
    return library.SanaPipeline(
        text_encoder=gemma2(),
        tokenizer=gemma_tokenizer(),
        transformer=library.SanaTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=2,
            num_attention_heads=2,
            attention_head_dim=8,
            num_cross_attention_heads=2,
            cross_attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=GEMMA_WIDTH,
            sample_size=16,
        ),
        vae=library.AutoencoderDC(
            latent_channels=4,
            attention_head_dim=2,
            encoder_block_out_channels=(4,) * 6,
            decoder_block_out_channels=(4,) * 6,
            encoder_layers_per_block=(1,) * 6,
            decoder_layers_per_block=(1,) * 6,
            encoder_qkv_multiscales=((),) * 6,
            decoder_qkv_multiscales=((),) * 6,
            scaling_factor=0.4,
        ),
        scheduler=library.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )


def sana_sprint() -> Any:
    """In two steps, unless more are asked for."""
    parts = sana().components
    transformer = library.SanaTransformer2DModel.from_config(
        parts["transformer"].config,
        guidance_embeds=True,
        qk_norm="rms_norm_across_heads",
        sample_size=32,
    )
    scheduler = library.SCMScheduler(prediction_type="trigflow", sigma_data=0.5)
    return library.SanaSprintPipeline(
        **{**parts, "transformer": transformer, "scheduler": scheduler}
    )


def cogview3() -> Any:
    """What is wanted and what is not are two rows of one call."""
    return library.CogView3PlusPipeline(
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
        transformer=library.CogView3PlusTransformer2DModel(
            in_channels=4,
            out_channels=4,
            text_embed_dim=TEXT_WIDTH,
            time_embed_dim=8,
            condition_dim=4,
            pos_embed_max_size=64,
            sample_size=32,
            **HEADS,
        ),
        vae=plain_vae(4, levels=2, scaling_factor=0.4),
        scheduler=library.CogVideoXDDIMScheduler(),
    )


def ovis_image() -> Any:
    """Tokens in squares, and prompts padded to one length."""
    pipeline = library.OvisImagePipeline(
        text_encoder=transformers.Qwen3Model(qwen3_config(16)),
        tokenizer=qwen_tokenizer(),
        transformer=library.OvisImageTransformer2DModel(
            in_channels=16,
            out_channels=16,
            num_single_layers=2,
            joint_attention_dim=16,
            axes_dims_rope=(4, 6, 6),
            **HEADS,
        ),
        vae=plain_vae(4, levels=2, shift_factor=0.1, scaling_factor=0.4),
        scheduler=library.FlowMatchEulerDiscreteScheduler(),
    )
    pipeline.system_prompt, pipeline.user_prompt_begin_id = "", 2
    pipeline.default_sample_size = 32
    return pipeline


def aura_flow() -> Any:
    """What is wanted and what is not are two rows of one call."""
    transformer = library.AuraFlowTransformer2DModel(
        sample_size=32,
        num_mmdit_layers=1,
        num_single_dit_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=TEXT_WIDTH,
        caption_projection_dim=32,
        pos_embed_max_size=1024,
    )
    with torch.no_grad():  # untrained, it would hardly heed the prompt
        transformer.joint_transformer_blocks[0].attn.add_v_proj.weight.mul_(50)
        transformer.joint_transformer_blocks[0].norm1.linear.weight.mul_(10)
        transformer.single_transformer_blocks[0].norm1.linear.weight.mul_(10)
    return library.AuraFlowPipeline(
        text_encoder=transformers.UMT5EncoderModel(
            transformers.UMT5Config(
                vocab_size=300, d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=4
            )
        ),
        tokenizer=t5_tokenizer(),
        transformer=transformer,
        vae=plain_vae(4, levels=2, scaling_factor=0.13),
        scheduler=library.FlowMatchEulerDiscreteScheduler(),
    )


def lumina2() -> Any:
    """Rows have as many tokens as their prompts and their image."""
    return library.Lumina2Pipeline(
        text_encoder=gemma2(),
        tokenizer=gemma_tokenizer(),
        transformer=library.Lumina2Transformer2DModel(
            sample_size=16,
            in_channels=4,
            hidden_size=24,
            num_layers=2,
            num_refiner_layers=1,
            num_attention_heads=3,
            num_kv_heads=1,
            multiple_of=16,
            axes_dim_rope=(4, 2, 2),
            axes_lens=(512, 32, 32),
            cap_feat_dim=GEMMA_WIDTH,
        ),
        vae=plain_vae(4, levels=4, shift_factor=0.1, scaling_factor=0.4),
        scheduler=library.FlowMatchEulerDiscreteScheduler(),
    )


def cogview4() -> Any:
    """Prompts are padded to sixteen tokens, and nothing masks that."""
    width = 16
    return library.CogView4Pipeline(
        text_encoder=transformers.GlmModel(
            transformers.GlmConfig(**qwen_sizes(width), head_dim=8, pad_token_id=0)
        ),
        tokenizer=t5_tokenizer(),
        transformer=library.CogView4Transformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            text_embed_dim=width,
            time_embed_dim=8,
            condition_dim=4,
            sample_size=32,
            rope_axes_dim=(8, 8),
        ),
        vae=plain_vae(4, levels=2, scaling_factor=0.4),
        scheduler=library.FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.25, max_shift=0.75
        ),
    )


def hunyuan_image() -> Any:
    """With guidance that looks at all steps before."""
    pipeline = library.HunyuanImagePipeline(
        text_encoder=vision_model(vision_tokenizer()),
        tokenizer=vision_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=transformers.ByT5Tokenizer(extra_ids=0),
        transformer=library.HunyuanImageTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_single_layers=2,
            num_refiner_layers=1,
            text_embed_dim=16,
            text_embed_2_dim=TEXT_WIDTH,
            rope_axes_dim=(8, 8),
            **HEADS,
        ),
        vae=library.AutoencoderKLHunyuanImage(
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            block_out_channels=(32, 32),
            layers_per_block=1,
            spatial_compression_ratio=2,
            sample_size=64,
            scaling_factor=0.75,
            downsample_match_channel=False,
            upsample_match_channel=False,
        ),
        scheduler=library.FlowMatchEulerDiscreteScheduler(),
        guider=guiders.AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=2),
    )
    with torch.no_grad():  # untrained, it would hardly heed the prompt
        first = pipeline.transformer.transformer_blocks[0]
        first.attn.add_v_proj.weight.mul_(50)
        first.norm1.linear.weight.mul_(10)
    pipeline.tokenizer_max_length = 192
    return pipeline


def hidream() -> Any:
    """With experts, and all layers of one text encoder."""
    llama = transformers.LlamaConfig(**{**qwen_sizes(16), "pad_token_id": 0})
    pipeline = library.HiDreamImagePipeline(
        text_encoder=transformers.CLIPTextModelWithProjection(_long_text_config()),
        tokenizer=new_tokenizer(max_tokens=128),
        text_encoder_2=transformers.CLIPTextModelWithProjection(_long_text_config()),
        tokenizer_2=new_tokenizer(max_tokens=128),
        text_encoder_3=t5(),
        tokenizer_3=t5_tokenizer(),
        text_encoder_4=transformers.LlamaForCausalLM(llama),
        tokenizer_4=qwen_tokenizer(),
        transformer=library.HiDreamImageTransformer2DModel(
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            caption_channels=[TEXT_WIDTH, 16],
            text_emb_dim=2 * TEXT_WIDTH,
            num_routed_experts=4,
            num_activated_experts=2,
            axes_dims_rope=(4, 6, 6),
            max_resolution=(32, 32),
            llama_layers=[0, 1],
            force_inference_output=True,
        ),
        vae=plain_vae(4, levels=2, shift_factor=0.1, scaling_factor=0.4),
        scheduler=library.FlowMatchEulerDiscreteScheduler(),
    )
    pipeline.default_sample_size = 16  # its images have as many pixels as this says, always
    return pipeline


def _long_text_config() -> Any:
    return text_config(new_tokenizer(max_tokens=128))


def kandinsky5(kind: str = "Kandinsky5T2IPipeline") -> Any:
    """Of which the runtime knows nothing: its latents lie in another order."""
    tokenizer = vision_tokenizer()
    pipeline = getattr(library, kind)(
        text_encoder=vision_model(tokenizer),
        tokenizer=vision_processor(tokenizer),
        text_encoder_2=transformers.CLIPTextModel(text_config(new_tokenizer())),
        tokenizer_2=new_tokenizer(),
        transformer=library.Kandinsky5Transformer3DModel(
            in_visual_dim=4,
            out_visual_dim=4,
            in_text_dim=16,
            in_text_dim2=TEXT_WIDTH,
            time_dim=16,
            model_dim=32,
            ff_dim=32,
            num_text_blocks=1,
            num_visual_blocks=1,
            axes_dims=(4, 6, 6),
            visual_cond=kind == "Kandinsky5I2IPipeline",
        ),
        vae=plain_vae(4, levels=4, scaling_factor=0.4),
        scheduler=library.FlowMatchEulerDiscreteScheduler(),
    )
    pipeline.resolutions = [(64, 64)]  # it knows none below a megapixel
    return pipeline


def vision_tokenizer() -> Any:
    """Of bytes, and of what stands for an image."""
    tokenizer = qwen_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(_VISION)})
    return tokenizer


def vision_processor(tokenizer: Any) -> Any:
    """Of texts and images of 56 pixels a side."""
    seen = transformers.Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=56 * 56)
    return without_videos("Qwen2VLProcessor")(seen, tokenizer, chat_template=CHAT)


def vision_model(tokenizer: Any) -> Any:
    """A text encoder that sees images, with an output of 16."""
    width = 16
    ids = tokenizer.convert_tokens_to_ids(list(_VISION))
    return transformers.Qwen2_5_VLForConditionalGeneration(
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


def gemma2() -> Any:
    """A text encoder with an output of `GEMMA_WIDTH`."""
    sizes = {**qwen_sizes(GEMMA_WIDTH), "pad_token_id": 0}
    return transformers.Gemma2Model(transformers.Gemma2Config(**sizes, head_dim=8))


def gemma_tokenizer() -> Any:
    """Of bytes, for long instructions before a prompt."""
    tokenizer = qwen_tokenizer()
    tokenizer.model_max_length = 1024
    return tokenizer


BUILDERS: Final[dict[str, Callable[[], Any]]] = {
    "Qwen-Image-Edit": qwen_image_edit,
    "Qwen-Image-Edit-Plus": partial(qwen_image_edit, "QwenImageEditPlusPipeline", zero_cond_t=True),
    "Chroma": chroma,
    "Sana": sana,
    "Sana Sprint": sana_sprint,
    "CogView3+": cogview3,
    "Ovis-Image": ovis_image,
    "AuraFlow": aura_flow,
    "Lumina 2": lumina2,
    "CogView4": cogview4,
    "HunyuanImage": hunyuan_image,
    "HiDream": hidream,
    "Kandinsky 5": kandinsky5,
    "Kandinsky 5 from an image": partial(kandinsky5, "Kandinsky5I2IPipeline"),
}
