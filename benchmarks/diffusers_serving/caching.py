"""Step caches where weights are random, which tell of no trained model's how often one is used.

From step to step the first block of such a transformer changes by a third, at any number of steps:
`balanced` would compute all of them. What it saves is therefore measured with every second step
computed, by the same passes and decisions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.torch.first_block import FirstBlockCache
from queue_agent_diffusers.torch.step_cache import StepCaches


class EverySecondStep(FirstBlockCache):
    """Looks at the change as always, and then computes every second step."""

    def __init__(self) -> None:
        super().__init__(threshold=0.0)
        self._step = 0

    def change(self, first: Sequence[torch.Tensor]) -> torch.Tensor | None:
        """More than the threshold, or none at all."""
        seen = super().change(first)
        if seen is None:
            return None
        return 0 * seen if self._step % 2 else 1 + seen

    def answered(self, prediction: Any) -> bool:
        """See `StepCache`."""
        self._step += 1
        return super().answered(prediction)


def halve_balanced(model: Any) -> None:
    """Have a `TransformerModel` compute every second step of its `balanced` jobs."""
    usual: Callable[[ImageRequest], StepCaches | None] = model.new_caches

    def new_caches(request: ImageRequest) -> StepCaches | None:
        if request.quality == "balanced":
            return StepCaches("balanced", EverySecondStep)
        return usual(request)

    model.new_caches = new_caches
