"""Any diffusers pipeline, through its own call: what is known of none is served by it."""

from typing import Any

from queue_agent_diffusers.engine.model import OnStep
from queue_agent_diffusers.engine.quality import unheeded
from queue_agent_diffusers.engine.requests import ImageRequest, Pictures
from queue_agent_diffusers.engine.unbatched import UnbatchedModel
from queue_agent_diffusers.errors import InvalidRequest
from queue_agent_diffusers.torch.conditioning import Conditioning
from queue_agent_diffusers.torch.finite import finite_pictures
from queue_agent_diffusers.torch.memory import memory_watched, release_memory, weight_bytes
from queue_agent_diffusers.torch.pipeline_arguments import (
    Family,
    Pipeline,
    parameters,
    pipeline_arguments,
    refusals_told,
    withheld,
)


class PipelineModel(UnbatchedModel):
    """Any diffusers pipeline."""

    def __init__(self, pipeline: Any, conditioning: Conditioning | None = None) -> None:
        self.conditioning = conditioning or Conditioning()
        self.memory = weight_bytes(pipeline)
        vae = getattr(pipeline, "vae", None)
        if vae is not None and hasattr(vae, "enable_slicing"):
            vae.enable_slicing()  # the decoder's memory then does not grow with the count
        self._family = Family(pipeline, self.conditioning.control_nets)
        self.takes_samplers = self._family.takes_samplers

    def check(self, request: ImageRequest) -> None:
        """Raise `InvalidRequest` for what this model can never do."""
        self.conditioning.check(request)
        self._family.check(request)
        if request.loras:
            raise InvalidRequest("This model takes no LoRAs from requests.", param="loras")

    def generate(self, request: ImageRequest, on_step: OnStep) -> Pictures:
        """Make all images of the request in one call."""
        pipeline = self._family.choose(request)
        pipeline.scheduler, warnings = self._family.scheduler(request)
        arguments, ignored = pipeline_arguments(pipeline, request, request.seeds)

        def after_step(
            running: Pipeline, step: int, _timestep: object, tensors: dict[str, object]
        ) -> dict[str, object]:
            on_step(step + 1, running.num_timesteps)
            return tensors

        if "callback_on_step_end" in parameters(pipeline):
            arguments["callback_on_step_end"] = after_step
        with memory_watched(request.count, request), refusals_told(), finite_pictures():
            result: Any = pipeline(**arguments)
        told = (*warnings, *ignored, *unheeded(request.quality), *_withheld(result))
        return Pictures(result[0], told)  # first in all, and not "images" in each

    def close(self) -> None:
        """Free the weights' memory."""
        del self._family
        release_memory()


def _withheld(result: object) -> list[str]:
    return withheld(getattr(result, "nsfw_content_detected", None) or [])
