"""What step caches save, and how far their images are from exact ones, on the CPU.

    python -m benchmarks.step_caches                       a small Flux of random weights
    python -m benchmarks.step_caches --model unet          the tiny model of the bundled runtime
    python -m benchmarks.step_caches --model FILE          a Flux by `benchmarks.trained_flux`

All ways take turns, in one process. Random weights show what a step costs with each quality beside
an exact one; how often `balanced` leaves blocks out, and how much that changes an image, trained
weights alone can tell. Of random ones `balanced` is therefore measured with every second step
computed, too. PSNR is that of the pixels, from 0 to 1, in decibels: of each image, the middle one,
the worst and the best.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import diffusers
import numpy as np
import torch
from PIL import Image

from benchmarks.diffusers_serving.caching import halve_balanced
from benchmarks.diffusers_serving.models import new_pipeline
from benchmarks.trained_flux import tiny_pipeline, trained_flux
from queue_agent.wire.quality import QUALITIES, Quality
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.torch.architectures import architecture_of
from queue_agent_diffusers.torch.batched import BatchedModel
from queue_agent_diffusers.torch.transformer import TransformerModel
from queue_agent_diffusers.torch.unet import UNetModel

library: Any = diffusers
BATCHES: Final = (1, 4)
DRAWN: Final = (
    "red star on blue",
    "green heart",
    "large yellow circle on black",
    "small purple square",
    "orange triangle on grey",
)
"""What trained weights are asked for."""


@dataclass(frozen=True)
class CachingSubject:
    """A pipeline, and ways to make its images."""

    ways: Mapping[str, tuple[BatchedModel, Quality]]
    block: Any
    """Through which rows go that are computed."""
    side: int
    prompts: Sequence[str]
    batches: Sequence[int]


@dataclass
class Seen:
    """Of one way to make the same images."""

    seconds: list[float] = field(default_factory=list)
    """Of the CPU, for an image, by request: other work on the machine is not counted."""
    computed: list[float] = field(default_factory=list)
    """Share of the rows that went through all blocks, likewise."""
    images: list[torch.Tensor] = field(default_factory=list)


def small_flux() -> Any:
    """Twelve blocks, narrow enough for a CPU and deep enough for the first to be a small part."""
    torch.manual_seed(0)
    pipeline = new_pipeline("flux", tiny=True, device="cpu", dtype=torch.float32)
    pipeline.transformer = library.FluxTransformer2DModel(
        num_layers=4,
        num_single_layers=8,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=pipeline.transformer.config.joint_attention_dim,
        pooled_projection_dim=pipeline.transformer.config.pooled_projection_dim,
        axes_dims_rope=[8, 12, 12],
        guidance_embeds=True,
    ).eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def random_flux() -> CachingSubject:
    """Whose `balanced` is also made to leave out steps."""
    pipeline = small_flux()
    own, halved = _transformer(pipeline), _transformer(pipeline)
    halve_balanced(halved)
    ways = {**_qualities(own), "balanced, every second step": (halved, QUALITIES[1])}
    block = pipeline.transformer.single_transformer_blocks[-1]
    return CachingSubject(ways, block, 128, ["a lighthouse"], BATCHES)


def trained(model: str) -> CachingSubject:
    """The tiny model's UNet, or a Flux of those weights."""
    if model == "unet":
        pipeline = tiny_pipeline()
        own: BatchedModel = UNetModel(pipeline, max_batch=max(BATCHES))
        block = pipeline.unet.mid_block
    else:
        pipeline = trained_flux(Path(model))
        own, block = _transformer(pipeline), pipeline.transformer.single_transformer_blocks[-1]
    return CachingSubject(_qualities(own), block, 512, DRAWN, BATCHES[:1])


def _transformer(pipeline: Any) -> TransformerModel:
    architecture = architecture_of(pipeline)
    if architecture is None:
        raise RuntimeError("nothing is known of this pipeline")
    return TransformerModel(pipeline, architecture, max_batch=max(BATCHES))


def _qualities(model: BatchedModel) -> dict[str, tuple[BatchedModel, Quality]]:
    return {quality: (model, quality) for quality in QUALITIES}


def measure(subject: CachingSubject, steps: int, count: int, rounds: int) -> dict[str, Seen]:
    """All ways in turns, for a batch of so many images."""
    seen = {name: Seen() for name in subject.ways}
    for _ in range(rounds):
        for number, prompt in enumerate(subject.prompts):
            for name, (model, quality) in subject.ways.items():
                request = ImageRequest(
                    prompt,
                    seed=number,
                    count=count,
                    width=subject.side,
                    height=subject.side,
                    steps=steps,
                    quality=quality,
                )
                _make(model, request, subject.block, seen[name])
    return seen


def _make(model: BatchedModel, request: ImageRequest, block: Any, seen: Seen) -> None:
    samples = list(model.begin(request, lambda _, __: None))
    for sample in samples:
        sample.start()
    with _rows_counted(block) as rows:
        began = time.process_time()
        while not samples[0].done:
            for move in model.predict(samples):
                move()
        seen.seconds.append((time.process_time() - began) / len(samples))
    taken = sum(sample.rows * (sample.steps or 1) for sample in samples)
    seen.computed.append(sum(rows) / taken)
    pictures = model.finish(request, samples)().images
    seen.images += [_tensor(picture) for picture in pictures]


def _tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)


@contextmanager
def _rows_counted(block: Any) -> Iterator[list[int]]:
    """Rows of each pass through it."""
    rows: list[int] = []

    def count(_block: Any, given: Any, named: Any, _output: Any) -> None:
        rows.append(len(named["hidden_states"] if "hidden_states" in named else given[0]))

    hook = block.register_forward_hook(count, with_kwargs=True)
    try:
        yield rows
    finally:
        hook.remove()


def psnr(image: torch.Tensor, exact: torch.Tensor) -> float:
    """In decibels; infinite where they are the same."""
    error = float(((image - exact) ** 2).mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def distances(images: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]) -> str:
    """Of all images, in words."""
    found = sorted(psnr(one, other) for one, other in zip(images, exact, strict=True))
    if math.isinf(found[0]):
        return "equal"
    middle, worst, best = (f"{value:.1f}" for value in (median(found), found[0], found[-1]))
    return middle if worst == best else f"{middle} ({worst} to {best})"


def markdown(seen: dict[int, dict[str, Seen]], steps: int) -> str:
    """The table, by images in a batch."""
    lines = [
        "| images in a batch | quality | steps computed | CPU s an image | x exact | PSNR, dB |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for count, ways in seen.items():
        exact = ways["exact"]
        for name, one in ways.items():
            # Rounds are compared each with its own: other work may slow all of one.
            ratio = median(
                theirs / ours for theirs, ours in zip(exact.seconds, one.seconds, strict=True)
            )
            lines.append(
                f"| {count} | {name} | {median(one.computed) * steps:.0f} of {steps} "
                f"| {median(one.seconds):.2f} | {ratio:.2f} "
                f"| {distances(one.images, exact.images)} |"
            )
    return "\n".join(lines)


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step_caches")
    parser.add_argument("--model", help="unet, or a file of weights")
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args(given)
    torch.set_num_threads(arguments.threads)
    subject = trained(arguments.model) if arguments.model else random_flux()
    seen = {
        count: measure(subject, arguments.steps, count, arguments.rounds)
        for count in subject.batches
    }
    sys.stdout.write(markdown(seen, arguments.steps) + "\n")


if __name__ == "__main__":
    main()
