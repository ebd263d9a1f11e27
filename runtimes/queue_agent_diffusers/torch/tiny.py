"""A tiny Stable Diffusion model with random weights, built in seconds.

    python -m queue_agent_diffusers.torch.tiny OUT_DIR

It has every part of Stable Diffusion 1.x, or with --xl of XL, in the usual folder layout,
downloads nothing, and paints noise: for tests and benchmarks that look at no picture. What
`--model tiny` serves is another, which was trained (`queue_agent_diffusers.tiny`).
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import diffusers
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

library: Any = diffusers
"""diffusers ships annotations for some of its names only."""

SAMPLE_SIZE: Final = 32
"""Side of the default latent; with the VAE's factor of 8 images have 256 pixels a side."""
TEXT_WIDTH: Final = 32
MAX_TOKENS: Final = 77
_NOISE: Final = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
_WORDS: Final = ("lighthouse", "mountain", "river", "forest", "photo", "painting", "light")


def build_tiny_model(out_dir: Path, *, seed: int = 0, xl: bool = False) -> None:
    """Write the model to `out_dir`, ready for ``DiffusionPipeline.from_pretrained``.

    The same seed gives the same weights. With `xl` it has the parts of Stable Diffusion XL.
    """
    tokenizer = new_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = (_new_xl_pipeline if xl else _new_pipeline)(tokenizer)
    pipeline.save_pretrained(out_dir)


def _new_pipeline(tokenizer: CLIPTokenizer) -> Any:
    return library.StableDiffusionPipeline(
        text_encoder=CLIPTextModel(text_config(tokenizer)),
        tokenizer=tokenizer,
        unet=_new_unet(cross_attention_dim=TEXT_WIDTH),
        vae=_new_vae(),
        scheduler=library.DDIMScheduler(**_NOISE, clip_sample=False, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _new_xl_pipeline(tokenizer: CLIPTokenizer) -> Any:
    return library.StableDiffusionXLPipeline(
        text_encoder=CLIPTextModel(text_config(tokenizer)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(tokenizer)),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=_new_unet(
            cross_attention_dim=2 * TEXT_WIDTH,  # both encoders' outputs side by side
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=TEXT_WIDTH + 6 * 8,
            transformer_layers_per_block=(1, 2),
        ),
        vae=_new_vae(),
        scheduler=library.EulerDiscreteScheduler(**_NOISE, timestep_spacing="leading"),
        add_watermarker=False,
    )


def new_tokenizer(words: Sequence[str] = _WORDS, *, max_tokens: int = MAX_TOKENS) -> CLIPTokenizer:
    """A tokenizer of single bytes and a few whole words."""
    vocabulary, merges = _byte_pairs(words)
    pairs: Any = merges  # annotated as text, although only pairs are taken
    return CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=max_tokens)


def text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """Of a text encoder with an output of `TEXT_WIDTH`."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=TEXT_WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _new_unet(**options: object) -> Any:
    unet = library.UNet2DConditionModel(
        sample_size=SAMPLE_SIZE,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=4,
        norm_num_groups=8,
        **options,
    )
    # Untrained, it would amplify rounding errors from step to step as no real one does.
    with torch.no_grad():
        unet.conv_out.weight.mul_(0.25)
    return unet


def _new_vae() -> Any:
    return library.AutoencoderKL(
        sample_size=8 * SAMPLE_SIZE,
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
    )


def _byte_pairs(words: Sequence[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-level vocabulary with a few whole words, and the merges that build those."""
    letters = list(_byte_letters())
    tokens = letters + [f"{letter}</w>" for letter in letters]
    merges: list[tuple[str, str]] = []
    for word in words:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            parts[:2] = ["".join(pair)]
            if pair not in merges:
                merges.append(pair)
                tokens.append(parts[0])
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: number for number, token in enumerate(tokens)}, merges


def _byte_letters() -> Iterator[str]:
    """The printable letter that stands for each of the 256 bytes in byte-level BPE.

    The assignment is the tokenizers library's own:
    https://huggingface.co/docs/tokenizers/api/pre-tokenizers#tokenizers.pre_tokenizers.ByteLevel
    """
    yield from sorted(ByteLevel.alphabet())


def main() -> None:
    """Build the model in the folder that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m queue_agent_diffusers.torch.tiny",
        description="Build a tiny Stable Diffusion model with random weights.",
    )
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default: 0)")
    parser.add_argument("--xl", action="store_true", help="with the parts of Stable Diffusion XL")
    arguments = parser.parse_args()
    build_tiny_model(arguments.out_dir, seed=arguments.seed, xl=arguments.xl)


if __name__ == "__main__":
    main()
