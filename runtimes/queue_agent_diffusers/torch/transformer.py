"""Transformer pipelines whose requests share forward passes; see `architectures`."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image

from queue_agent.wire.quality import Quality
from queue_agent_diffusers.engine.quality import QualityPolicy
from queue_agent_diffusers.engine.requests import ImageRequest, Pictures
from queue_agent_diffusers.errors import InvalidRequest
from queue_agent_diffusers.torch import forward
from queue_agent_diffusers.torch.architectures.architecture import Architecture, Blocks
from queue_agent_diffusers.torch.batched import BatchedModel
from queue_agent_diffusers.torch.conditioning import Conditioning
from queue_agent_diffusers.torch.decoding import PipelineDecoder
from queue_agent_diffusers.torch.first_block import FirstBlockCache, first_block_caching
from queue_agent_diffusers.torch.lora_cache import LoraCache
from queue_agent_diffusers.torch.memory import memory_watched
from queue_agent_diffusers.torch.pipeline_arguments import Family
from queue_agent_diffusers.torch.step_cache import StepCache, StepCaching, TaylorCache
from queue_agent_diffusers.torch.step_sample import StepSample
from queue_agent_diffusers.torch.suspended import DecodeCall, NetworkCall, SuspendedCall


class TransformerModel(BatchedModel):
    """A transformer pipeline with its siblings."""

    def __init__(
        self,
        pipeline: Any,
        architecture: Architecture,
        *,
        max_batch: int,
        loras: LoraCache | None = None,
        conditioning: Conditioning | None = None,
        networks: Mapping[str, forward.Network] | None = None,
        buckets: Sequence[int] = (),
        family: Family | None = None,
        quality: QualityPolicy | None = None,
        side: int | None = None,
    ) -> None:
        """`networks` stand for the pipeline's own in forward passes, `buckets` are its rows.

        `side` is that of a square of the natural size, where the architecture knows none.
        """
        super().__init__(
            pipeline,
            max_batch=max_batch,
            loras=loras,
            conditioning=conditioning,
            caching=StepCaching(_caches(architecture.blocks), quality),
            side=side or architecture.natural_side(pipeline),
            family=family,
        )
        self.layout = architecture.layout
        self.host_timesteps = architecture.host_timesteps
        self.takes_loras = hasattr(pipeline, "load_lora_weights")
        self._architecture = architecture
        self.decoder = PipelineDecoder(pipeline)
        self._own = {name: getattr(pipeline, name) for name in architecture.networks}
        self._networks = {**self._own, **(networks or {})}
        self.buckets = sorted(buckets)

    def check(self, request: ImageRequest) -> None:
        """Raise `InvalidRequest` for what this model can never do."""
        super().check(request)
        if request.loras and not self.takes_loras:
            raise InvalidRequest("This model takes no LoRAs from requests.", param="loras")

    def finish(
        self, request: ImageRequest, samples: Sequence[StepSample]
    ) -> Callable[[], Pictures]:
        """What decodes them."""
        calls: list[DecodeCall] = [sample.result for sample in samples]
        received = [self.decoder.hand_over(call.latents) for call in calls]
        finish = self._architecture.finish(*self._size(request))
        warnings = self._warnings(request)

        def make() -> Pictures:
            with memory_watched(len(calls), request):
                images = [
                    self.decoder.picture(receive, call.arguments, finish)
                    for receive, call in zip(received, calls, strict=True)
                ]
            return Pictures(images, (*warnings, *self._resized(request, images[0], warnings)))

        return make

    def close(self) -> None:
        """Free the weights' memory."""
        del self._networks, self._own, self.decoder
        super().close()

    def guides(self, request: ImageRequest) -> bool:
        """Whether the request needs a second row for what it shall not look like."""
        above = self._architecture.doubled_above
        return above is not None and self._scale(request) > above

    def preview(self, sample: StepSample) -> Callable[[], Image.Image] | None:
        """What draws the latents as they stand."""
        if sample.latents is None:
            return None
        decoder, receive = self.decoder, self.decoder.hand_over(self.cells(sample))
        return lambda: decoder.preview(receive)

    def cells(self, sample: StepSample) -> torch.Tensor:
        """The latents of a sample that has taken a step, as `LinearPreview` draws them."""
        if sample.latents is None:
            raise RuntimeError("a sample that has taken no step has no latents")
        pipeline = self._family.choose(sample.request)
        return self._architecture.cells(pipeline, sample.latents, *self._size(sample.request), 1)

    def suspend(
        self, pipeline: Any, arguments: dict[str, object], sample: StepSample
    ) -> SuspendedCall:
        """The pipeline's call up to where it would decode, not started."""
        return SuspendedCall(
            pipeline,
            arguments,
            networks=self._architecture.networks,
            outputs=self.layout.outputs,
            vae=self.decoder.stand_in(sample.seed),
        )

    def tensor(self, sample: StepSample) -> torch.Tensor:
        """The picture of a finished sample before it is quantised, from 0 to 1."""
        finish = self._architecture.finish(*self._size(sample.request))
        return self.decoder.tensor(sample.result, finish)

    def _resized(self, request: ImageRequest, image: Image.Image, told: Sequence[str]) -> list[str]:
        """What is left to tell of a size that the model has chosen by itself."""
        asked = (request.width or image.width, request.height or image.height)
        if image.size == asked or any(warning.startswith("size:") for warning in told):
            return []
        return [f"size: this model chooses it by itself; {image.width}x{image.height} was made."]

    def network(self, name: str) -> Any:
        """The pipeline's own transformer."""
        return self._own[name]

    def _pass(self, calls: Sequence[NetworkCall]) -> list[Any]:
        name = calls[0].network
        if not any(isinstance(call.cache, FirstBlockCache) for call in calls):
            return forward.predict(
                self._networks[name], calls, self.layout, pad_to=self.bucket(calls)
            )
        # Whatever stands for the network may not know its blocks.
        with first_block_caching(self._own[name], self._architecture.blocks, calls):
            return forward.predict(self._own[name], calls, self.layout)


def _caches(blocks: Blocks) -> Mapping[Quality, Callable[[], StepCache]]:
    """By the qualities that a transformer of such blocks knows."""
    if not blocks.lists:
        return {"fast": TaylorCache}
    first_block = functools.partial(FirstBlockCache, blocks.threshold)
    return {"balanced": first_block, "fast": TaylorCache}
