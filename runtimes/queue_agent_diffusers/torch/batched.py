"""UNet pipelines whose requests share forward passes, step by step.

Stable Diffusion 1.x, 2.x and XL, their distilled and inpainting variants, text to image, image
to image and inpainting: each image is a suspended call of its pipeline (`suspended`), and one
step answers all of them with one pass of the UNet (`forward`).
"""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

import torch
from cachetools import LRUCache
from PIL import Image

from queue_agent_diffusers.engine.model import OnStep
from queue_agent_diffusers.engine.requests import ImageRequest, Pictures
from queue_agent_diffusers.errors import InvalidRequest
from queue_agent_diffusers.torch import forward
from queue_agent_diffusers.torch.decoding import Decoder
from queue_agent_diffusers.torch.lora_cache import LoraCache
from queue_agent_diffusers.torch.memory import memory_watched, release_memory, weight_bytes
from queue_agent_diffusers.torch.pipeline_arguments import (
    Family,
    Pipeline,
    default,
    library,
    parameters,
    pipeline_arguments,
    withheld,
)
from queue_agent_diffusers.torch.schedulers import keep_timesteps_on_host
from queue_agent_diffusers.torch.speed import Pace
from queue_agent_diffusers.torch.suspended import NetworkCall, SuspendedCall

REMEMBERED_PROMPTS: Final = 256
_FAMILY: Final = (
    "StableDiffusionPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusionXLInpaintPipeline",
    "LatentConsistencyModelPipeline",
)
_EMBEDDINGS: Final = (
    "prompt_embeds",
    "negative_prompt_embeds",
    "pooled_prompt_embeds",
    "negative_pooled_prompt_embeds",
)


def can_batch(pipeline: object) -> bool:
    """Whether a pipeline is of the kind that `BatchedModel` serves."""
    parts = vars(pipeline)
    return (
        type(pipeline).__name__ in _FAMILY
        and isinstance(parts.get("unet"), library.UNet2DConditionModel)
        and isinstance(parts.get("vae"), library.AutoencoderKL)
        and getattr(pipeline, "image_encoder", None) is None
    )


class UNetSample:
    """One image of a request."""

    def __init__(self, model: "BatchedModel", request: ImageRequest, seed: int) -> None:
        self.request = request
        self.seed = seed
        self.rows = 2 if model.guides(request) else 1
        self.step = 0
        self.steps: int | None = None
        self.done = False
        self.latents: torch.Tensor | None = None
        self.call: SuspendedCall | None = None
        self._model = model

    def start(self) -> None:
        """Encode the prompt and the image, make the noise, come to the first step."""
        with memory_watched(1, self.request):
            self.call = self._model.new_call(self)
            self.call.start()
        self.steps = self.call.pipeline.num_timesteps

    def resume(self, prediction: torch.Tensor) -> None:
        """Take the step for which the network made its prediction."""
        call = self.call
        if call is None:
            raise RuntimeError("a sample that was not started has no step to take")
        call.resume(prediction)
        self.step += 1
        if call.asked is None:
            self.latents = call.result[0]
            self.call = None
            self.done = True

    def stop(self) -> None:
        """Unwind the pipeline's call."""
        if self.call is not None:
            self.call.stop()
            self.call = None

    def preview(self) -> Callable[[], Image.Image] | None:
        """What draws the latents as they stand."""
        if self.latents is None:
            return None
        decoder = self._model.decoder
        receive = decoder.hand_over(self.latents)
        return lambda: decoder.preview(receive)


class BatchedModel:
    """A UNet pipeline with its siblings; all but `check` and `batch_key` in one thread."""

    turn = 4
    takes_loras = True

    def __init__(
        self,
        pipeline: Any,
        *,
        max_batch: int,
        loras: LoraCache | None = None,
        network: forward.Network | None = None,
        buckets: Sequence[int] = (),
    ) -> None:
        """`network` stands for the UNet in forward passes, `buckets` are its numbers of rows."""
        self.max_batch = max_batch
        self.memory = weight_bytes(pipeline)
        self.decoder = Decoder(pipeline)
        self._family = Family(pipeline)
        self.takes_samplers = self._family.takes_samplers
        self._unet = pipeline.unet
        self._network = network or pipeline.unet
        self._buckets = sorted(buckets)
        self._loras = loras or LoraCache(None)
        self._pace = Pace(pipeline.device)
        self._prompts: LRUCache[Hashable, Mapping[str, torch.Tensor | None]] = LRUCache(
            REMEMBERED_PROMPTS
        )
        self._natural_side: int = pipeline.unet.config.sample_size * pipeline.vae_scale_factor

    def check(self, request: ImageRequest) -> None:
        """Raise `InvalidRequest` for what this model can never do."""
        self._family.check(request)
        self._loras.check(request.loras)
        if self._unet.config.in_channels != 4 and request.mask is None:
            raise InvalidRequest("This model only paints in masks.", param="mask")

    def batch_key(self, request: ImageRequest) -> Hashable:
        """The same size and the same LoRAs."""
        return (*self._size(request), request.loras)

    def max_rows(self, request: ImageRequest) -> int:
        """As many as `max_batch` guided images of the natural size take, fewer of larger ones."""
        width, height = self._size(request)
        share = min(1.0, self._natural_side**2 / (width * height))
        return max(2, int(2 * self.max_batch * share))

    def begin(self, request: ImageRequest, on_step: OnStep) -> Sequence[UNetSample]:
        """One sample per image."""
        del on_step  # the engine ends each
        return [UNetSample(self, request, seed) for seed in request.seeds]

    def predict(self, samples: Sequence[UNetSample]) -> Sequence[Callable[[], None]]:
        """One pass of the UNet for all; each one's own guidance and scheduler are left."""
        self._loras.apply(self._family.main, samples[0].request.loras)
        asked = [sample.call.asked for sample in samples if sample.call and sample.call.asked]
        if len(asked) != len(samples):
            raise RuntimeError("a sample is to step that is not at a step")
        with memory_watched(len(samples), samples[0].request), torch.no_grad():
            self._pace.wait()
            predictions = self._predict(asked)
            self._pace.mark()
        return [
            functools.partial(sample.resume, prediction)
            for sample, prediction in zip(samples, predictions, strict=True)
        ]

    def finish(
        self, request: ImageRequest, samples: Sequence[UNetSample]
    ) -> Callable[[], Pictures]:
        """What decodes them."""
        latents = [sample.latents for sample in samples if sample.latents is not None]
        receive = self.decoder.hand_over(torch.cat(latents))
        warnings = self._warnings(request)

        def make() -> Pictures:
            with memory_watched(len(samples), request):
                images, flags = self.decoder.pictures(receive)
            return Pictures(images, (*warnings, *withheld(flags)))

        return make

    def warm_up(self) -> None:
        """Take a step of each bucket's size, so that nothing is compiled while jobs wait."""
        request = ImageRequest("", seed=0, steps=1, guidance_scale=1.0)
        most = self.max_rows(request)
        for size in [bucket for bucket in self._buckets if bucket <= most]:
            samples = self.begin(dataclasses.replace(request, count=size), lambda _, __: None)
            for sample in samples:
                sample.start()
            for move in self.predict(samples):
                move()
        self._prompts.clear()

    def close(self) -> None:
        """Free the weights' memory."""
        self._prompts.clear()
        del self._family, self._network, self._unet, self.decoder
        release_memory()

    def guides(self, request: ImageRequest) -> bool:
        """Whether the request needs a second row for what it shall not look like."""
        scale = request.guidance_scale
        if scale is None:
            given = default(self._family.choose(request), "guidance_scale")
            scale = float(given) if isinstance(given, int | float) else 1.0
        return scale > 1 and self._unet.config.time_cond_proj_dim is None

    def new_call(self, sample: UNetSample) -> SuspendedCall:
        """The pipeline's call for one image, not started."""
        request = sample.request
        pipeline = self._family.choose(request)
        arguments, _ignored = pipeline_arguments(pipeline, request, [sample.seed])
        arguments |= {"prompt": None, **self._embeddings(pipeline, request)}

        def after_step(
            _pipeline: Pipeline, _step: int, _time: object, tensors: dict[str, torch.Tensor]
        ) -> dict[str, torch.Tensor]:
            sample.latents = tensors["latents"]
            return tensors

        arguments |= {
            "output_type": "latent",
            "return_dict": False,
            "callback_on_step_end": after_step,
        }
        call = SuspendedCall(pipeline, arguments)
        scheduler, _warnings = self._family.scheduler(request)
        keep_timesteps_on_host(scheduler)
        call.pipeline.__dict__["scheduler"] = scheduler
        return call

    def _predict(self, calls: Sequence[NetworkCall]) -> list[torch.Tensor]:
        kinds = [forward.kind(call) for call in calls]
        found: dict[int, torch.Tensor] = {}
        for kind in dict.fromkeys(kinds):
            places = [place for place, other in enumerate(kinds) if other == kind]
            together = [calls[place] for place in places]
            rows = sum(map(forward.rows, together))
            bucket = next((size for size in self._buckets if size >= rows), None)
            predictions = forward.predict(self._network, together, pad_to=bucket)
            found |= dict(zip(places, predictions, strict=True))
        return [found[place] for place in range(len(calls))]

    def _embeddings(
        self, pipeline: Any, request: ImageRequest
    ) -> Mapping[str, torch.Tensor | None]:
        """The encoded prompts in place of the prompts; those seen lately are not encoded again."""
        guided = self.guides(request)
        key = (request.prompt, request.negative_prompt, guided, request.loras)
        if key not in self._prompts:
            self._loras.apply(self._family.main, request.loras)
            with torch.no_grad():
                tensors = pipeline.encode_prompt(
                    prompt=[request.prompt],
                    device=self._unet.device,
                    num_images_per_prompt=1,
                    do_classifier_free_guidance=guided,
                    negative_prompt=[request.negative_prompt] if request.negative_prompt else None,
                )
            self._prompts[key] = dict(zip(_EMBEDDINGS, tensors, strict=False))
        known = parameters(pipeline)
        encoded = {name: value for name, value in self._prompts[key].items() if name in known}
        return {**encoded, **({"negative_prompt": None} if "negative_prompt" in known else {})}

    def _size(self, request: ImageRequest) -> tuple[int, int]:
        return request.width or self._natural_side, request.height or self._natural_side

    def _warnings(self, request: ImageRequest) -> list[str]:
        pipeline = self._family.choose(request)
        _arguments, ignored = pipeline_arguments(pipeline, request, request.seeds)
        return [*self._family.scheduler(request)[1], *ignored]
