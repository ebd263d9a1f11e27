"""What a sample keeps of its network's answers, so that later steps need less of the network.

Each image has caches of its own, one for each question that it asks in a step (what is wanted, what
is not), so that images of any quality share passes and none changes another. A cache learns of an
answer when the sample goes on with it: a pass that failed has changed nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers.hooks import TaylorSeerCacheConfig
from diffusers.hooks.taylorseer_cache import TaylorSeerState

from queue_agent.wire.quality import Quality
from queue_agent_diffusers.engine.quality import QualityPolicy
from queue_agent_diffusers.engine.requests import ImageRequest


class StepCache(ABC):
    """Of one question of one sample."""

    @property
    @abstractmethod
    def skips(self) -> bool:
        """Whether the answer at hand took no pass, or not all of one."""

    @abstractmethod
    def foreseen(self) -> Any | None:
        """The answer without a pass; None: the network is to be asked."""

    @abstractmethod
    def answered(self, prediction: Any) -> bool:
        """The sample goes on with this answer.

        Whether what is kept now is of the pass that it was made by, and of none before: the answer
        alone would bring no other cache to that, and that pass alone would.
        """


Question = tuple[str, int]
"""The network that is asked, and how many questions of the step came before."""


class StepCaches:
    """Those of one sample."""

    def __init__(self, quality: Quality, new: Callable[[], StepCache]) -> None:
        """`new` makes one, of that quality."""
        self.quality = quality
        self._new = new
        self._caches: dict[Question, StepCache] = {}
        self._question = 0
        """How many were answered since the scheduler's last step."""

    def of(self, network: str) -> StepCache:
        """The cache for the question at hand."""
        place = network, self._question
        if place not in self._caches:
            self._caches[place] = self._new()
        return self._caches[place]

    def answered(self, network: str, prediction: Any) -> Question | None:
        """The question at hand has its answer; which it is, if `StepCache.answered` says so."""
        question = network, self._question
        is_of_pass = self.of(network).answered(prediction)
        self._question += 1
        return question if is_of_pass else None

    def stepped(self) -> None:
        """The scheduler has made a step of the answers."""
        self._question = 0


class StepCaching:
    """The qualities that a model knows below exact, and what the operator allows of them."""

    def __init__(
        self,
        caches: Mapping[Quality, Callable[[], StepCache]],
        policy: QualityPolicy | None = None,
    ) -> None:
        """`caches` make one of each quality."""
        self._new = caches
        self._policy = policy or QualityPolicy()

    def caches(self, request: ImageRequest) -> StepCaches | None:
        """What an image of the request keeps from step to step; None: each is computed."""
        quality = self._policy.choose(request.quality)
        # What leads it would not be in what is kept.
        if _is_led(request) or quality not in self._new:
            return None
        return StepCaches(quality, self._new[quality])

    def warnings(self, request: ImageRequest) -> list[str]:
        """One sentence where the request does not get the quality that it asks for."""
        chosen = self._policy.choose(request.quality)
        if request.quality is None or chosen == "exact":
            return self._policy.warnings(request.quality)
        if _is_led(request):
            return ["quality: what images lead is made exactly."]
        if chosen not in self._new:
            return [f"quality: this model knows no {chosen} one; it was made exactly."]
        return self._policy.warnings(request.quality)


def _is_led(request: ImageRequest) -> bool:
    return bool(request.controls or request.image_prompts)


class TaylorCache(StepCache):
    """TaylorSeer in its light form: at most steps the answer is extrapolated from earlier ones.

    Which steps, and how, are diffusers' defaults: https://huggingface.co/papers/2503.06923. In this
    form diffusers, too, skips all blocks and keeps only what the network gives out last.
    """

    def __init__(self) -> None:
        config = TaylorSeerCacheConfig()
        self._interval = config.cache_interval
        self._all_before = config.disable_cache_before_step
        self._step = 0
        self._state = TaylorSeerState(torch.float32, config.max_order)
        self._listed = False

    @property
    def _computes(self) -> bool:
        since: int = self._step - self._all_before
        return since < 0 or (since - 1) % self._interval == 0

    @property
    def skips(self) -> bool:
        """All of a pass, but for the steps that are computed."""
        return not self._computes

    def foreseen(self) -> Any | None:
        """By the first terms of its Taylor series."""
        if self._computes:
            return None
        self._state.current_step = self._step
        rows = self._state.predict()
        return rows if self._listed else rows[0]

    def answered(self, prediction: Any) -> bool:
        """Learn from what was computed."""
        if self._computes:
            self._listed = isinstance(prediction, list)
            self._state.current_step = self._step
            self._state.update(tuple(prediction) if self._listed else (prediction,))
        self._step += 1
        return False
