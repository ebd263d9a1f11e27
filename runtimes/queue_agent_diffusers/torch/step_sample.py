"""One image of a request, as a suspended call of its pipeline that takes steps."""

import dataclasses
import logging
from collections.abc import Callable
from typing import Any, Protocol

import torch
from PIL import Image

from queue_agent.wire.quality import Quality
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.torch.control_passes import answer_together
from queue_agent_diffusers.torch.memory import memory_watched
from queue_agent_diffusers.torch.pipeline_arguments import refusals_told
from queue_agent_diffusers.torch.predictions import (
    UNFIT,
    KeptPredictions,
    Prediction,
    check_alike,
    on_device,
)
from queue_agent_diffusers.torch.step_cache import StepCaches
from queue_agent_diffusers.torch.suspended import NetworkCall, SuspendedCall

_log = logging.getLogger(__name__)


class _Model(Protocol):
    """What makes a sample's call."""

    device: torch.device
    checkpoint_limit: int

    def guides(self, request: ImageRequest) -> bool: ...
    def new_caches(self, request: ImageRequest) -> StepCaches | None: ...
    def new_call(self, sample: "StepSample") -> SuspendedCall: ...
    def preview(self, sample: "StepSample") -> Callable[[], Image.Image] | None: ...


class StepSample:
    """One image of a request."""

    def __init__(self, model: _Model, request: ImageRequest, seed: int) -> None:
        self.request = request
        self.seed = seed
        self.rows = 2 if model.guides(request) else 1
        self.step = 0
        self.steps: int | None = None
        self.done = False
        self.skipped_by: Quality | None = None
        self.latents: torch.Tensor | None = None
        """As the last step left them."""
        self.result: Any = None
        """What the pipeline's call ended with."""
        self.call: SuspendedCall | None = None
        self.caches = model.new_caches(request)
        self.kept = KeptPredictions(model.checkpoint_limit)
        """What the network answered, in this call or in the one that it takes up."""
        self._calls = 0
        """How many questions were answered."""
        self._model = model

    def start(self) -> None:
        """Encode the prompt and the image, make the noise, come to the first step left to take.

        Raises:
            InvalidRequest: the pipeline refuses it.
        """
        with memory_watched(1, self.request), refusals_told():
            self._begin()
            self._go_on()

    @property
    def asked(self) -> NetworkCall | None:
        """What it asks of a network."""
        asked = self.call.asked if self.call else None
        if asked is None or self.caches is None:
            return asked
        return dataclasses.replace(asked, cache=self.caches.of(asked.network))

    def resume(self, prediction: Any) -> None:
        """Go on with the network's prediction to its next question, or to the end."""
        self.skipped_by = self._skipping()
        with refusals_told():
            if self._calls < len(self.kept):  # a pass that was made again
                self._go_on(self.kept[self._calls])
            else:
                self._answer(prediction, keep=True)

    def _go_on(self, prediction: Prediction | None = None) -> None:
        """Answer by this and by what is kept, as far as that goes without a pass."""
        given = self.kept.given(self._calls) if prediction is None else prediction
        before = self.asked
        try:
            while given is not None:
                self._answer(on_device(given, self._model.device))
                given = self.kept.given(self._calls)
            check_alike(before, self.asked)
        except torch.OutOfMemoryError:
            raise
        except UNFIT as error:
            _log.warning("begun anew, since its kept steps do not fit: %s", error)
            self.stop()
            self.kept.clear()
            self._begin()

    def _begin(self) -> None:
        self.step, self.latents, self.done, self._calls = 0, None, False, 0
        self.caches = self._model.new_caches(self.request)
        self.call = call = self._model.new_call(self)
        call.start()
        pipeline = call.pipeline
        self.steps = getattr(pipeline, "num_timesteps", None) or len(pipeline.scheduler.timesteps)

    def _answer(self, prediction: Any, *, keep: bool = False) -> None:
        answer_together([self])
        call = self.call
        if call is None or call.asked is None:
            raise RuntimeError("a sample that was not started has no step to take")
        question = None
        if self.caches is not None:
            question = self.caches.answered(call.asked.network, prediction)
        if keep:
            self.kept.add(prediction, question)
        self._calls += 1
        call.resume(prediction)
        if call.asked is None:
            self.result = call.result
            self.call = self.caches = None
            self.done = True

    def _skipping(self) -> Quality | None:
        """By which quality the question at hand took less than a pass."""
        if self.caches is None or self.call is None or self.call.asked is None:
            return None
        return self.caches.quality if self.caches.of(self.call.asked.network).skips else None

    def stepped(self, latents: torch.Tensor) -> None:
        """Note what the scheduler made of a prediction."""
        self.step += 1
        self.latents = latents
        if self.caches is not None:
            self.caches.stepped()

    def stop(self) -> None:
        """Unwind the pipeline's call."""
        if self.call is not None:
            self.call.stop()
            self.call = self.caches = None

    def preview(self) -> Callable[[], Image.Image] | None:
        """What draws the latents as they stand."""
        return self._model.preview(self)
