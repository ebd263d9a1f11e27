"""The tiny model before its training: every part of Stable Diffusion 1.x, as small as can be."""

import math
from typing import Any, Final

import diffusers
import torch
from transformers import CLIPTextModel

from queue_agent_diffusers.torch.tiny import TEXT_WIDTH, new_tokenizer, text_config
from tiny_model.drawings import WORDS

library: Any = diffusers
"""diffusers ships annotations for some of its names only."""

CELLS: Final = 16
"""A side of the usual latent."""
MAX_TOKENS: Final = 24
"""Of a prompt; among more the words that count are lost sooner."""
_VAE_CHANNELS: Final = (8, 8, 16, 16, 16, 16)
LOG_VARIANCE: Final = -8.0
"""Of the encoder's latents: they are almost certain."""
_CONSTANT: Final = 6.0
FACTOR: Final = 2 ** (len(_VAE_CHANNELS) - 1)
"""Pixels a side for each cell. More than the usual 8, so that pictures have the usual 512 pixels
a side and the UNet, which does most of the work, has 256 cells."""


def new_pipeline() -> Any:
    """Its UNet and text encoder have random weights.

    The schedule of the noise ends in nothing but noise, and velocities are predicted, so that few
    steps suffice.
    """
    tokenizer = new_tokenizer(WORDS, max_tokens=MAX_TOKENS)
    unet = library.UNet2DConditionModel(
        sample_size=CELLS,
        block_out_channels=(16, 32, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=4,
        norm_num_groups=8,
        cross_attention_dim=TEXT_WIDTH,
    )
    scheduler = library.DDIMScheduler(
        beta_start=0.0001,
        beta_end=0.02,
        beta_schedule="linear",
        steps_offset=1,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=False,
    )
    return library.StableDiffusionPipeline(
        text_encoder=CLIPTextModel(text_config(tokenizer)),
        tokenizer=tokenizer,
        unet=unet,
        vae=new_vae(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def new_vae() -> Any:
    """One that makes a picture small by averaging, and large again by repeating its cells.

    Its latents are red, green, blue and lightness. Colours go through it as pairs of themselves
    and their negatives, of which the difference survives an activation (x = silu(x) - silu(-x)),
    beside a constant pair that is so large that norms do not depend on the picture.
    """
    vae = library.AutoencoderKL(
        sample_size=FACTOR * CELLS,
        block_out_channels=_VAE_CHANNELS,
        down_block_types=("DownEncoderBlock2D",) * len(_VAE_CHANNELS),
        up_block_types=("UpDecoderBlock2D",) * len(_VAE_CHANNELS),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=1.0,
    )
    with torch.no_grad():
        for part in vae.modules():
            _pass_on(part)
        for network in (vae.encoder, vae.decoder):
            _enter(network.conv_in)
            norm = network.conv_norm_out
            norm.weight.fill_(_spread_of(norm.num_channels))
            _leave(network.conv_out)
        vae.encoder.conv_out.weight[3] = vae.encoder.conv_out.weight[:3].mean(0)
        vae.encoder.conv_out.bias[4:] = LOG_VARIANCE
    return vae


def _pass_on(part: Any) -> None:
    """Let a block add nothing to what it is given, and only average or repeat it."""
    kind = type(part).__name__
    if kind == "ResnetBlock2D":
        part.norm1.weight.fill_(_spread_of(part.in_channels))
        part.conv2.weight.zero_()
        part.conv2.bias.zero_()
        if part.conv_shortcut is not None:
            kept = range(min(part.in_channels, part.out_channels))
            _set(part.conv_shortcut, {(i, i): 1.0 for i in kept}, place=0)
    elif kind == "Downsample2D":
        _set(part.conv, {(i, i): 0.25 for i in range(part.channels)}, place=slice(0, 2))
    elif kind == "Upsample2D":
        _set(part.conv, {(i, i): 1.0 for i in range(part.channels)})


def _enter(conv: Any) -> None:
    pairs = {(c, c): 1.0 for c in range(3)} | {(c + 3, c): -1.0 for c in range(3)}
    _set(conv, pairs)
    conv.bias[6], conv.bias[7] = _CONSTANT, -_CONSTANT


def _leave(conv: Any) -> None:
    _set(conv, {(c, c): 1.0 for c in range(3)} | {(c, c + 3): -1.0 for c in range(3)})


def _set(conv: Any, weights: dict[tuple[int, int], float], *, place: int | slice = 1) -> None:
    """Weights by output and input channel, at a place of the kernel; 0 elsewhere."""
    conv.weight.zero_()
    conv.bias.zero_()
    for (made, given), weight in weights.items():
        conv.weight[made, given, place, place] = weight


def _spread_of(channels: int) -> float:
    """The standard deviation of that many channels, of which two are the constant pair."""
    return _CONSTANT * math.sqrt(2 / channels)
