"""UNet pipelines whose requests share forward passes.

Stable Diffusion 1.x, 2.x and XL, their distilled and inpainting variants: text to image, image to
image and inpainting.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import torch
from PIL import Image

from queue_agent.wire.quality import Quality
from queue_agent_diffusers.engine.quality import QualityPolicy
from queue_agent_diffusers.engine.requests import ImageRequest, Pictures
from queue_agent_diffusers.errors import InvalidRequest
from queue_agent_diffusers.torch import forward
from queue_agent_diffusers.torch.batched import BatchedModel
from queue_agent_diffusers.torch.conditioning import Conditioning
from queue_agent_diffusers.torch.decoding import Decoder
from queue_agent_diffusers.torch.deep_cache import DeepCache, deep_caching, has_depth
from queue_agent_diffusers.torch.forward import RowLayout
from queue_agent_diffusers.torch.lora_cache import LoraCache
from queue_agent_diffusers.torch.memory import memory_watched
from queue_agent_diffusers.torch.pipeline_arguments import withheld
from queue_agent_diffusers.torch.siblings import library
from queue_agent_diffusers.torch.step_cache import StepCache, StepCaching
from queue_agent_diffusers.torch.step_sample import StepSample
from queue_agent_diffusers.torch.suspended import NetworkCall, SuspendedCall

_PIPELINES: Final = (
    "StableDiffusionPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusionXLInpaintPipeline",
    "LatentConsistencyModelPipeline",
)


_LAYOUT: Final = RowLayout(stacked=frozenset({"down_block_additional_residuals", "image_embeds"}))
"""What ControlNets and IP-Adapters have to say."""


_CACHES: Final[Mapping[Quality, Callable[[], StepCache]]] = {
    "balanced": partial(DeepCache, 3),
    "fast": partial(DeepCache, 5),
}
"""The package's own interval, and the longest of the paper's that costs little."""


def can_batch(pipeline: object) -> bool:
    """Whether a pipeline is of the kind that `UNetModel` serves."""
    parts = vars(pipeline)
    return (
        type(pipeline).__name__ in _PIPELINES
        and isinstance(parts.get("unet"), library.UNet2DConditionModel)
        and isinstance(parts.get("vae"), library.AutoencoderKL)
        and getattr(pipeline, "image_encoder", None) is None
    )


class UNetModel(BatchedModel):
    """A UNet pipeline with its siblings."""

    host_timesteps = True
    layout = _LAYOUT

    def __init__(
        self,
        pipeline: Any,
        *,
        max_batch: int,
        loras: LoraCache | None = None,
        conditioning: Conditioning | None = None,
        network: forward.Network | None = None,
        buckets: Sequence[int] = (),
        quality: QualityPolicy | None = None,
    ) -> None:
        """`network` stands for the UNet in forward passes, `buckets` are its numbers of rows."""
        side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
        caches = _CACHES if has_depth(pipeline.unet) else {}
        super().__init__(
            pipeline,
            max_batch=max_batch,
            loras=loras,
            conditioning=conditioning,
            caching=StepCaching(caches, quality),
            side=side,
        )
        self.decoder = Decoder(pipeline)
        self._unet = pipeline.unet
        self._network = network or pipeline.unet
        self.buckets = sorted(buckets)

    def check(self, request: ImageRequest) -> None:
        """Raise `InvalidRequest` for what this model can never do."""
        super().check(request)
        if self._unet.config.in_channels != 4 and request.mask is None:
            raise InvalidRequest("This model only paints in masks.", param="mask")

    def finish(
        self, request: ImageRequest, samples: Sequence[StepSample]
    ) -> Callable[[], Pictures]:
        """What decodes them."""
        receive = self.decoder.hand_over(torch.cat([sample.result[0] for sample in samples]))
        warnings = self._warnings(request)

        def make() -> Pictures:
            with memory_watched(len(samples), request):
                images, flags = self.decoder.pictures(receive)
            return Pictures(images, (*warnings, *withheld(flags)))

        return make

    def close(self) -> None:
        """Free the weights' memory."""
        del self._network, self._unet, self.decoder
        super().close()

    def guides(self, request: ImageRequest) -> bool:
        """Whether the request needs a second row for what it shall not look like."""
        return self._scale(request) > 1 and self._unet.config.time_cond_proj_dim is None

    def preview(self, sample: StepSample) -> Callable[[], Image.Image] | None:
        """What draws the latents as they stand."""
        if sample.latents is None:
            return None
        decoder = self.decoder
        receive = decoder.hand_over(sample.latents)
        return lambda: decoder.preview(receive)

    def suspend(
        self, pipeline: Any, arguments: dict[str, object], sample: StepSample
    ) -> SuspendedCall:
        """The pipeline's call up to its latents, not started."""
        del sample
        return SuspendedCall(pipeline, {**arguments, "output_type": "latent"})

    def _kind(self, call: NetworkCall) -> Hashable:
        skips = isinstance(call.cache, DeepCache) and call.cache.skips
        return (super()._kind(call), skips)

    def network(self, name: str) -> Any:
        """The UNet: there is no other."""
        del name
        return self._unet

    def _pass(self, calls: Sequence[NetworkCall]) -> list[Any]:
        if any(isinstance(call.cache, DeepCache) for call in calls):
            # Whatever stands for the UNet may not know its blocks.
            with deep_caching(self._unet, calls):
                return forward.predict(self._unet, calls, self.layout)
        # What leads a request comes in lists, and changes the network's own state.
        led = forward.holds_lists(calls[0], self.layout)
        network = self._unet if led else self._network
        return forward.predict(network, calls, self.layout, pad_to=self.bucket(calls))
