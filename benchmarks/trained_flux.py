"""A small Flux with weights that were trained: what step caches save with random ones tells little.

    python -m benchmarks.trained_flux OUT_FILE       minutes of one CPU

It draws what the tiny model draws (`runtimes/tiny_model`), whose text encoder and autoencoder it
has, and is trained as Flux is: on the way from noise to a picture, by its speed.
"""

import argparse
import random
import sys
from pathlib import Path
from typing import Any, Final

import diffusers
import torch
import transformers
from safetensors.torch import load_model, save_model
from torch.nn.functional import mse_loss

from queue_agent_diffusers.tiny import FOLDER
from tiny_model.training import drawn_batches

library: Any = diffusers
STEPS: Final = 4000
_BATCH: Final = 16
_RATE: Final = 2e-3
_CHANNELS: Final = 4


def tiny_pipeline() -> Any:
    """The tiny model that comes with the bundled runtime."""
    library.logging.set_verbosity_error()  # of prompts that are too long
    transformers.logging.set_verbosity_error()
    pipeline = library.StableDiffusionPipeline.from_pretrained(FOLDER, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def new_flux() -> Any:
    """The pipeline, its transformer of random weights: two blocks and eight, 64 wide."""
    tiny = tiny_pipeline()
    width = tiny.text_encoder.config.hidden_size
    torch.manual_seed(0)
    pipeline = library.FluxPipeline(
        text_encoder=tiny.text_encoder,
        tokenizer=tiny.tokenizer,
        text_encoder_2=tiny.text_encoder,
        tokenizer_2=tiny.tokenizer,
        transformer=library.FluxTransformer2DModel(
            patch_size=1,
            in_channels=4 * _CHANNELS,
            num_layers=2,
            num_single_layers=8,
            attention_head_dim=16,
            num_attention_heads=4,
            joint_attention_dim=width,
            pooled_projection_dim=width,
            axes_dims_rope=[4, 6, 6],
            guidance_embeds=False,
        ),
        vae=tiny.vae,
        scheduler=library.FlowMatchEulerDiscreteScheduler(),
    )
    pipeline.vae.register_to_config(shift_factor=0.0)
    encode, most = pipeline.encode_prompt, tiny.tokenizer.model_max_length

    def encode_prompt(*given: Any, max_sequence_length: int = most, **named: Any) -> Any:
        return encode(*given, max_sequence_length=min(most, max_sequence_length), **named)

    pipeline.__dict__["encode_prompt"] = encode_prompt  # of 512 tokens by default
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def trained_flux(weights: Path) -> Any:
    """The pipeline with weights that `train` has written."""
    pipeline = new_flux()
    load_model(pipeline.transformer, weights)
    pipeline.transformer.eval()
    return pipeline


def train(pipeline: Any, steps: int) -> float:
    """Teach the transformer; the mean loss of the last hundred steps."""
    network = pipeline.transformer.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    losses: list[float] = []
    batches = drawn_batches(random.Random(0), _BATCH)  # noqa: S311  by a seed, and no secret
    for _, (prompts, latents) in zip(range(steps), batches, strict=False):
        loss = _loss(pipeline, prompts, latents)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if len(losses) % 100 == 0:
            sys.stderr.write(f"{len(losses)}/{steps}: {sum(losses[-100:]) / 100:.4f}\n")
    network.eval()
    return sum(losses[-100:]) / len(losses[-100:])


def _loss(pipeline: Any, prompts: list[str], latents: torch.Tensor) -> torch.Tensor:
    count, _, height, width = latents.shape
    with torch.no_grad():
        states, pooled, text_ids = pipeline.encode_prompt(prompts, None)
    image_ids = pipeline._prepare_latent_image_ids(  # noqa: SLF001  Flux's own order
        count, height // 2, width // 2, latents.device, latents.dtype
    )
    noise = torch.randn_like(latents)
    # As Stable Diffusion 3 was: more often in the middle, https://arxiv.org/abs/2403.03206
    times = torch.randn(count).sigmoid()
    share = times.view(-1, 1, 1, 1)
    guess = pipeline.transformer(
        hidden_states=_packed(pipeline, share * noise + (1 - share) * latents),
        encoder_hidden_states=states,
        pooled_projections=pooled,
        timestep=times,
        img_ids=image_ids,
        txt_ids=text_ids,
        return_dict=False,
    )[0]
    return mse_loss(guess, _packed(pipeline, noise - latents))


def _packed(pipeline: Any, latents: torch.Tensor) -> torch.Tensor:
    packed: torch.Tensor = pipeline._pack_latents(latents, *latents.shape)  # noqa: SLF001
    return packed


def main() -> None:
    """Train, write the weights."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trained_flux")
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = new_flux()
    train(pipeline, given.steps)
    save_model(pipeline.transformer, given.output)


if __name__ == "__main__":
    main()
