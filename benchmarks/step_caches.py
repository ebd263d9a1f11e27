"""What step caches save, and how far their images are from exact ones: a small Flux on the CPU.

    python -m benchmarks.step_caches                 28 steps, one image and four in a batch
    python -m benchmarks.step_caches --steps 50

Its weights are random. So the times show what a step costs with each quality beside an exact one,
in turns and in one process; how often `balanced` leaves blocks out, and how much that changes an
image, trained weights alone can tell. Beside what the threshold decides, `balanced` is therefore
measured with every second step computed. PSNR is that of the pixels, from 0 to 1, in decibels.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import diffusers
import torch

from benchmarks.diffusers_serving.caching import halve_balanced
from benchmarks.diffusers_serving.models import new_pipeline
from queue_agent.wire.quality import Quality
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.torch.architectures import architecture_of
from queue_agent_diffusers.torch.transformer import TransformerModel

library: Any = diffusers
SIDE: Final = 128
BATCHES: Final = (1, 4)


@dataclass
class Seen:
    """Of one way to make the same images."""

    seconds: list[float] = field(default_factory=list)
    """Of the CPU, for an image, by round: other work on the machine is not counted."""
    computed: float = 0.0
    """Share of the rows that went through all blocks."""
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


def measure(pipeline: Any, steps: int, count: int, rounds: int) -> dict[str, Seen]:
    """All ways in turns, for a batch of so many images."""
    architecture = architecture_of(pipeline)
    if architecture is None:
        raise RuntimeError("nothing is known of this pipeline")
    own = TransformerModel(pipeline, architecture, max_batch=count)
    halved = TransformerModel(pipeline, architecture, max_batch=count)
    halve_balanced(halved)
    ways: dict[str, tuple[TransformerModel, Quality]] = {
        "exact": (own, "exact"),
        "balanced": (own, "balanced"),
        "balanced, every second step": (halved, "balanced"),
        "fast": (own, "fast"),
    }
    seen = {name: Seen() for name in ways}
    last = pipeline.transformer.single_transformer_blocks[-1]
    for _ in range(rounds):
        for name, (model, quality) in ways.items():
            request = ImageRequest(
                "a lighthouse",
                seed=0,
                count=count,
                width=SIDE,
                height=SIDE,
                steps=steps,
                quality=quality,
            )
            _make(model, request, last, seen[name])
    return seen


def _make(model: TransformerModel, request: ImageRequest, last_block: Any, seen: Seen) -> None:
    samples = list(model.begin(request, lambda _, __: None))
    for sample in samples:
        sample.start()
    with _rows_counted(last_block) as rows:
        began = time.process_time()
        while not samples[0].done:
            for move in model.predict(samples):
                move()
        seen.seconds.append((time.process_time() - began) / len(samples))
    seen.computed = sum(rows) / len(samples) / (samples[0].steps or 1)
    seen.images = [model.tensor(sample) for sample in samples]


@contextmanager
def _rows_counted(block: Any) -> Iterator[list[int]]:
    """Rows of each pass through it."""
    rows: list[int] = []

    def count(_block: Any, _arguments: Any, named: Any, _output: Any) -> None:
        rows.append(len(named["hidden_states"]))

    hook = block.register_forward_hook(count, with_kwargs=True)
    try:
        yield rows
    finally:
        hook.remove()


def psnr(images: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]) -> float:
    """Of all of them, in decibels; infinite where they are the same."""
    errors = [((one - other) ** 2).mean() for one, other in zip(images, exact, strict=True)]
    error = float(torch.stack(errors).mean())
    return math.inf if error == 0 else -10 * math.log10(error)


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
            distance = psnr(one.images, exact.images)
            lines.append(
                f"| {count} | {name} | {one.computed * steps:.0f} of {steps} "
                f"| {median(one.seconds):.2f} | {ratio:.2f} "
                f"| {'equal' if math.isinf(distance) else f'{distance:.1f}'} |"
            )
    return "\n".join(lines)


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step_caches")
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args(given)
    torch.set_num_threads(arguments.threads)
    pipeline = small_flux()
    seen = {count: measure(pipeline, arguments.steps, count, arguments.rounds) for count in BATCHES}
    sys.stdout.write(markdown(seen, arguments.steps) + "\n")


if __name__ == "__main__":
    main()
