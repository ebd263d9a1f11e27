"""Whether the engine makes what the plain pipeline makes, on this device in this precision."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.torch.batched import BatchedModel
from queue_agent_diffusers.torch.pipeline_arguments import pipeline_arguments
from queue_agent_diffusers.torch.step_sample import StepSample

STEPS: Final = 3
REQUESTS: Final = 3
_TIMES_STATIC: Final = 4.0
_TIMES_ROUNDING: Final = 16.0


@dataclass(frozen=True)
class Agreement:
    """How far latents are from those of the plain pipeline, as a share of their own size.

    Rows of a larger batch are rounded otherwise in any library, so the measure is the same
    pipeline called for all requests together.
    """

    engine: float
    """Each request joins a step after the last."""
    static: float
    other_seed: float
    """Another picture: what is as far as this is not the same one."""
    tolerance: float

    @property
    def equal(self) -> bool:
        """Whether the engine's are the plain pipeline's; not, if any is not a number."""
        return self.engine <= self.tolerance < self.other_seed


def agreement(pipeline: Any, model: BatchedModel, like: ImageRequest) -> Agreement:
    """Of a few requests like that one."""
    requests = [replace(like, seed=seed, steps=STEPS) for seed in range(REQUESTS)]
    plain = [_by_pipeline(pipeline, [request])[0] for request in requests]
    static = _difference(_by_pipeline(pipeline, requests), plain)
    rounding = torch.finfo(plain[0].dtype).eps
    return Agreement(
        engine=_difference(_in_company(model, requests), plain),
        static=static,
        other_seed=_difference(plain[:1], plain[1:2]),
        tolerance=max(_TIMES_STATIC * static, _TIMES_ROUNDING * rounding),
    )


def _by_pipeline(pipeline: Any, requests: Sequence[ImageRequest]) -> list[torch.Tensor]:
    first = requests[0]
    seeds = [request.seed for request in requests]
    arguments, _ignored = pipeline_arguments(pipeline, first, seeds)
    return list(pipeline(**arguments, output_type="latent").images)


def _in_company(model: BatchedModel, requests: Sequence[ImageRequest]) -> list[torch.Tensor]:
    samples = [sample for request in requests for sample in model.begin(request, lambda *_: None)]
    waiting = list(samples)
    at_work: list[StepSample] = []
    while waiting or at_work:
        if waiting:
            joining = waiting.pop(0)
            joining.start()
            at_work.append(joining)
        for move in model.predict(at_work):
            move()
        at_work = [sample for sample in at_work if not sample.done]
    return [sample.latents[0] for sample in samples if sample.latents is not None]


def _difference(seen: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> float:
    """The largest; not a number where any value of either is none."""
    shares = [
        (one.float() - other.float()).norm() / other.float().norm()
        for one, other in zip(seen, wanted, strict=True)
    ]
    return float(torch.stack(shares).max())
