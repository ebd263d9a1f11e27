"""Models of the true sizes, or tiny ones of the same kinds, of random weights.

Nothing is downloaded. The shapes are those of the published configurations; tokenizers know
single letters and a few words, as what a prompt says changes nothing in the time it takes.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
import transformers

from queue_agent_diffusers.torch.siblings import library
from queue_agent_diffusers.torch.tiny import build_tiny_model, new_tokenizer

CLIP_WORDS: Final = 49408
T5_TOKENS: Final = 512
TINY_SIDE: Final = 64
"""Pixels of the tiny models' images."""

Networks = dict[str, Any]
"""The parts of a pipeline that hold weights, by its names for them."""


@dataclass(frozen=True)
class ModelKind:
    """A model that can be built in its true size or tiny."""

    title: str
    side: int
    """Of its images, in pixels."""
    dtype: str
    """On a GPU."""
    guidance_scale: float


KINDS: Final[Mapping[str, ModelKind]] = {
    "sd15": ModelKind("Stable Diffusion 1.5", 512, "float16", 7.5),
    "sdxl": ModelKind("Stable Diffusion XL", 1024, "float16", 7.5),
    "flux": ModelKind("Flux", 1024, "bfloat16", 3.5),
}


def write_model(
    kind: str, folder: Path, *, tiny: bool, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> None:
    """Into the folder, in the usual layout; built on the device, written in that precision."""
    if tiny and kind != "flux":
        build_tiny_model(folder, xl=kind == "sdxl")
    else:
        new_pipeline(kind, tiny=tiny, device=device, dtype=dtype).save_pretrained(folder)


def new_pipeline(kind: str, *, tiny: bool = False, device: str, dtype: torch.dtype) -> Any:
    """Built where it is to be, so that twelve billion weights take seconds.

    Raises:
        ValueError: a tiny one is asked for that `write_model` alone knows.
    """
    if tiny and kind != "flux":
        raise ValueError(f"a tiny {kind} is written, not built")
    networks = new_networks(kind, tiny=tiny, device=device, dtype=dtype)
    return _PIPELINES[kind](networks)


def new_networks(kind: str, *, tiny: bool = False, device: str, dtype: torch.dtype) -> Networks:
    """What holds the weights."""
    builders: Mapping[str, Callable[[], Networks]] = {
        "sd15": _sd15_networks,
        "sdxl": _sdxl_networks,
        "flux": _tiny_flux_networks if tiny else _flux_networks,
    }
    with _made(torch.device(device), dtype):
        networks = builders[kind]()
    return {name: network.eval() for name, network in networks.items()}


@contextmanager
def _made(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """New weights are of that precision and on that device."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            yield
    finally:
        torch.set_default_dtype(before)


def _sd15_networks() -> Networks:
    return {
        "text_encoder": _clip(768, layers=12, heads=12),
        "unet": library.UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
        "vae": _vae(channels=4, sample_size=512, scaling_factor=0.18215),
    }


def _sdxl_networks() -> Networks:
    return {
        "text_encoder": _clip(768, layers=12, heads=12),
        "text_encoder_2": _clip(1280, layers=32, heads=20, projected=True),
        "unet": library.UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        ),
        "vae": _vae(channels=4, sample_size=1024, scaling_factor=0.13025),
    }


def _flux_networks() -> Networks:
    return {
        "text_encoder": _clip(768, layers=12, heads=12),
        "text_encoder_2": _t5(d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64),
        "transformer": library.FluxTransformer2DModel(guidance_embeds=True),
        "vae": _flux_vae((128, 256, 512, 512)),
    }


def _tiny_flux_networks() -> Networks:
    width = 32
    return {
        "text_encoder": _clip(width, layers=2, heads=4),
        "text_encoder_2": _t5(d_model=width, d_kv=8, d_ff=64, num_layers=1, num_heads=4),
        "transformer": library.FluxTransformer2DModel(
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=width,
            pooled_projection_dim=width,
            axes_dims_rope=[4, 4, 8],
            guidance_embeds=True,
        ),
        "vae": _flux_vae((8, 8, 16, 16), norm_num_groups=4),
    }


def _clip(width: int, *, layers: int, heads: int, projected: bool = False) -> Any:
    tokenizer = new_tokenizer()
    config = transformers.CLIPTextConfig(
        vocab_size=CLIP_WORDS,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    if projected:
        return transformers.CLIPTextModelWithProjection(config)
    return transformers.CLIPTextModel(config)


def _t5(**sizes: int) -> Any:
    config = transformers.T5Config(vocab_size=32128, feed_forward_proj="gated-gelu", **sizes)
    return transformers.T5EncoderModel(config)


def _vae(channels: int, sample_size: int, scaling_factor: float, **options: Any) -> Any:
    widths = options.pop("block_out_channels", (128, 256, 512, 512))
    return library.AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=2,
        latent_channels=channels,
        sample_size=sample_size,
        scaling_factor=scaling_factor,
        **options,
    )


def _flux_vae(widths: tuple[int, ...], **options: Any) -> Any:
    return _vae(
        channels=16,
        sample_size=1024,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        block_out_channels=widths,
        use_quant_conv=False,
        use_post_quant_conv=False,
        **options,
    )


def _sd15(networks: Networks) -> Any:
    return library.StableDiffusionPipeline(
        **networks,
        tokenizer=new_tokenizer(),
        scheduler=_euler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl(networks: Networks) -> Any:
    return library.StableDiffusionXLPipeline(
        **networks,
        tokenizer=new_tokenizer(),
        tokenizer_2=new_tokenizer(),
        scheduler=_euler(),
        add_watermarker=False,
    )


def _flux(networks: Networks) -> Any:
    return library.FluxPipeline(
        **networks,
        tokenizer=new_tokenizer(),
        tokenizer_2=_t5_tokenizer(),
        scheduler=library.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    )


_PIPELINES: Final[Mapping[str, Callable[[Networks], Any]]] = {
    "sd15": _sd15,
    "sdxl": _sdxl,
    "flux": _flux,
}


def _euler() -> Any:
    return library.EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )


def _t5_tokenizer() -> Any:
    letters = [(letter, -float(rank)) for rank, letter in enumerate("▁abcdefghijklmnopqrstuvwxyz")]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return transformers.T5Tokenizer(
        vocab=[*special, *letters], extra_ids=0, model_max_length=T5_TOKENS
    )
