"""Models whose requests share forward passes, step by step.

Each image is a suspended call of its pipeline (`suspended`), and one step answers all of them with
one pass of the network (`forward`). What differs between UNets and transformers is in `unet` and
`transformer`.
"""

import copy
import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Final

import torch
from PIL import Image

from queue_agent_diffusers.engine.checkpoint import CheckpointUnusable, request_fingerprint
from queue_agent_diffusers.engine.model import OnStep
from queue_agent_diffusers.engine.requests import ImageRequest, Pictures
from queue_agent_diffusers.errors import InvalidRequest, OutOfMemory
from queue_agent_diffusers.options import MIB, Options
from queue_agent_diffusers.torch import forward
from queue_agent_diffusers.torch.conditioning import Conditioning
from queue_agent_diffusers.torch.control_passes import answer_together, asking
from queue_agent_diffusers.torch.fingerprints import model_fingerprint
from queue_agent_diffusers.torch.foreseen import Foreseen
from queue_agent_diffusers.torch.lora_cache import LoraCache
from queue_agent_diffusers.torch.memory import memory_watched, release_memory, weight_bytes
from queue_agent_diffusers.torch.pipeline_arguments import Family, default, refusals_told
from queue_agent_diffusers.torch.predictions import (
    read_checkpoint,
    write_checkpoint,
)
from queue_agent_diffusers.torch.prompt_cache import PromptCache
from queue_agent_diffusers.torch.schedulers import keep_timesteps_on_host, tell_steps
from queue_agent_diffusers.torch.speed import Pace
from queue_agent_diffusers.torch.step_cache import StepCaches, StepCaching
from queue_agent_diffusers.torch.step_sample import StepSample
from queue_agent_diffusers.torch.suspended import NetworkCall, SuspendedCall

_log = logging.getLogger(__name__)
_GUIDERS: Final = ("guider", "ocr_guider")


class BatchedModel(ABC):
    """A pipeline with its siblings; all but `check` and `batch_key` in one thread."""

    turn = 4
    takes_loras = True
    checkpoint_limit = Options.checkpoint_limit * MIB
    layout = forward.ROWS
    host_timesteps = False
    """Whether the schedulers' timesteps are kept in the host's memory."""
    buckets: Sequence[int] = ()
    """Numbers of rows that the network is run with, in ascending order; none: any."""

    def __init__(
        self,
        pipeline: Any,
        *,
        max_batch: int,
        loras: LoraCache | None = None,
        conditioning: Conditioning | None = None,
        caching: StepCaching,
        side: int,
        family: Family | None = None,
    ) -> None:
        """`side` is that of the images for which the model was made, in pixels."""
        self.caching = caching
        self.max_batch = max_batch
        self.conditioning = conditioning or Conditioning()
        self.memory = weight_bytes(pipeline, pipeline.vae.device) + self.conditioning.memory
        self.control_nets = self.conditioning.control_nets.names
        self.ip_adapters = self.conditioning.ip_adapters.names
        self._family = family or Family(pipeline, self.conditioning.control_nets)
        self.takes_samplers = self._family.takes_samplers
        self._loras = loras or LoraCache(None)
        self._pace = Pace(pipeline.vae.device)
        self._prompts = PromptCache()
        self._foreseen = Foreseen(pipeline.vae.device)
        self._natural_side = side
        self.device: torch.device = pipeline.device
        self._fingerprint = model_fingerprint(pipeline)

    def check(self, request: ImageRequest) -> None:
        """Raise `InvalidRequest` for what this model can never do."""
        self._family.check(request)
        self._loras.check(request.loras)
        self.conditioning.check(request)

    def batch_key(self, request: ImageRequest) -> Hashable:
        """The same size, LoRAs and IP-Adapters."""
        return (*self._size(request), request.loras, self.conditioning.batch_key(request))

    def max_rows(self, request: ImageRequest) -> int:
        """As many as `max_batch` guided images of the natural size take, fewer of larger ones."""
        width, height = self._size(request)
        share = min(1.0, self._natural_side**2 / (width * height))
        return max(2, int(2 * self.max_batch * share))

    def begin(self, request: ImageRequest, on_step: OnStep) -> Sequence[StepSample]:
        """One sample per image."""
        del on_step  # the engine ends each
        return [StepSample(self, request, seed) for seed in request.seeds]

    def predict(self, samples: Sequence[StepSample]) -> Sequence[Callable[[], None]]:
        """One pass of the network for all; each one's own guidance and scheduler are left."""
        alone = refusals_told() if len(samples) == 1 else nullcontext()
        with memory_watched(len(samples), samples[0].request), torch.no_grad(), alone:
            self._loras.apply(self._family.main, samples[0].request.loras)
            self.conditioning.apply(samples[0].request)
            answer_together(samples, self._foreseen.check)
            asked = [call for sample in samples if (call := sample.asked)]
            if len(asked) != len(samples):
                raise RuntimeError("a sample is to step that is not at a step")
            self._pace.wait()
            predictions = self._predict(asked)
            self._pace.mark()
        return [
            functools.partial(sample.resume, prediction)
            for sample, prediction in zip(samples, predictions, strict=True)
        ]

    def warm_up(self, rows: Sequence[int]) -> None:
        """Take a step with so many rows each, so that nothing is compiled while jobs wait.

        The most first: what fewer work with then fits into the memory that was taken for them.
        """
        request = self.smallest_request()
        most = self.max_rows(request)
        for size in sorted((count for count in rows if count <= most), reverse=True):
            samples = self.begin(replace(request, count=size), lambda _, __: None)
            try:
                for sample in samples:
                    sample.start()
                for move in self.predict(samples):
                    move()
            except OutOfMemory as error:
                _log.warning("no step with so many rows as %d was tried: %s", size, error)
            finally:
                for sample in samples:
                    sample.stop()
        self._prompts.clear()

    def smallest_request(self) -> ImageRequest:
        """Of the natural size, with as little to do as there can be."""
        return ImageRequest("", seed=0, steps=1, guidance_scale=1.0)

    def bucket(self, calls: Sequence[NetworkCall]) -> int | None:
        """The number of rows that a pass for them is filled up to."""
        rows = sum(call.rows for call in calls)
        return next((size for size in self.buckets if size >= rows), None)

    def checkpoint(
        self, request: ImageRequest, samples: Sequence[StepSample], limit: int
    ) -> Callable[[], bytes | None]:
        """See `Resumable`."""
        kept = [sample.kept.answers() for sample in samples]

        def make() -> bytes | None:
            try:
                fingerprint = self._fingerprint_of(request)
            except (CheckpointUnusable, InvalidRequest) as error:
                _log.warning("no checkpoint is made: %s", error)
                return None
            return write_checkpoint(kept, fingerprint, request.seed, limit)

        return make

    def restore(
        self, request: ImageRequest, samples: Sequence[StepSample], checkpoint: bytes
    ) -> None:
        """See `Resumable`."""
        found = read_checkpoint(checkpoint, self._fingerprint_of(request), len(samples))
        for sample, (predictions, passes) in zip(samples, found, strict=True):
            sample.kept.put(predictions, passes)

    @abstractmethod
    def finish(
        self, request: ImageRequest, samples: Sequence[StepSample]
    ) -> Callable[[], Pictures]:
        """What decodes them."""

    @abstractmethod
    def guides(self, request: ImageRequest) -> bool:
        """Whether the request needs a second row for what it shall not look like."""

    @abstractmethod
    def preview(self, sample: StepSample) -> Callable[[], Image.Image] | None:
        """What draws a sample as it stands, if anything can."""

    @abstractmethod
    def suspend(
        self, pipeline: Any, arguments: dict[str, object], sample: StepSample
    ) -> SuspendedCall:
        """The pipeline's call, not started."""

    def new_caches(self, request: ImageRequest) -> StepCaches | None:
        """What an image of the request keeps from step to step; None: nothing."""
        return self.caching.caches(request)

    def close(self) -> None:
        """Free the weights' memory."""
        self._prompts.clear()
        del self._family
        release_memory()

    def new_call(self, sample: StepSample) -> SuspendedCall:
        """The pipeline's call for one image, not started."""
        request = sample.request
        pipeline: Any = self._family.choose(request)
        arguments, _ignored = self._family.arguments(request, [sample.seed])
        self.conditioning.apply(request)
        call = self.suspend(pipeline, {**arguments, "return_dict": False}, sample)
        call.pipeline.__dict__.update(self.conditioning.parts(request))
        if request.controls:
            call.pipeline.__dict__["controlnet"] = asking(pipeline.controlnet, self.layout)
        scheduler, _warnings = self._family.scheduler(request)
        if self.host_timesteps:
            keep_timesteps_on_host(scheduler)
        tell_steps(scheduler, sample.stepped, arguments["generator"])
        call.pipeline.__dict__["scheduler"] = scheduler
        for name in _GUIDERS:  # which keep state from step to step, too
            guider = getattr(pipeline, name, None)
            if guider is not None:
                call.pipeline.__dict__[name] = copy.deepcopy(guider)
        call.pipeline.__dict__["encode_prompt"] = self._prompts.remembering(
            call.pipeline.encode_prompt,
            (type(pipeline), request.loras),
            functools.partial(self._loras.apply, self._family.main, request.loras),
        )
        return call

    def _fingerprint_of(self, request: ImageRequest) -> str:
        loras = [self._loras.digest(lora.name) for lora in request.loras]
        leading, caches = self.conditioning.fingerprints(request), self.new_caches(request)
        quality = caches.quality if caches else "exact"  # by the operator's word, too
        known = " ".join([self._fingerprint, quality, *loras, *leading])
        return request_fingerprint(request, known)

    def _predict(self, calls: Sequence[NetworkCall]) -> list[Any]:
        found = {
            place: answer
            for place, call in enumerate(calls)
            if call.cache and (answer := call.cache.foreseen()) is not None
        }
        kinds = {place: self._kind(call) for place, call in enumerate(calls) if place not in found}
        for kind in dict.fromkeys(kinds.values()):
            places = [place for place, other in kinds.items() if other == kind]
            asked = [calls[place] for place in places]
            self._foreseen.check(self.network(asked[0].network), asked)
            predictions = self._pass(asked)
            found |= dict(zip(places, predictions, strict=True))
        return [found[place] for place in range(len(calls))]

    def _kind(self, call: NetworkCall) -> Hashable:
        """Calls of equal kinds share a pass."""
        return forward.kind(call, self.layout)

    @abstractmethod
    def network(self, name: str) -> Any:
        """The network of that name itself, whatever stands for it in passes."""

    @abstractmethod
    def _pass(self, calls: Sequence[NetworkCall]) -> list[Any]:
        """The predictions for calls of one kind."""

    def _scale(self, request: ImageRequest) -> float:
        """What of guidance the request asks for, or the pipeline assumes."""
        if request.guidance_scale is not None:
            return request.guidance_scale
        given = default(self._family.choose(request), "guidance_scale")
        return float(given) if isinstance(given, int | float) else 1.0

    def _size(self, request: ImageRequest) -> tuple[int, int]:
        return request.width or self._natural_side, request.height or self._natural_side

    def _warnings(self, request: ImageRequest) -> list[str]:
        _arguments, ignored = self._family.arguments(request, request.seeds)
        warnings = [*self._family.scheduler(request)[1], *ignored]
        return [*warnings, *self.caching.warnings(request)]
