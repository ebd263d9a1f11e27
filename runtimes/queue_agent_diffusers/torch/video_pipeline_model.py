"""Any other diffusers pipeline for videos, through its own call.

What it makes is taken as it comes: nothing is known of its sizes and lengths but what its call's
own parameters are, so that what it says of a wrong one is what the client is told.
"""

from typing import Any, Final

import torch
from PIL import Image

from queue_agent_diffusers.engine.model import OnStep
from queue_agent_diffusers.engine.quality import unheeded
from queue_agent_diffusers.engine.requests import Clip, ImageRequest, Pictures
from queue_agent_diffusers.engine.unbatched import UnbatchedModel
from queue_agent_diffusers.errors import InvalidRequest
from queue_agent_diffusers.torch.finite import finite_pictures
from queue_agent_diffusers.torch.memory import memory_watched, release_memory, weight_bytes
from queue_agent_diffusers.torch.pipeline_arguments import (
    Pipeline,
    default,
    parameters,
    pipeline_arguments,
    refusals_told,
)
from queue_agent_diffusers.torch.schedulers import can_be_changed, make_scheduler
from queue_agent_diffusers.torch.video_family import clip_of, without_images
from queue_agent_diffusers.torch.video_file import write_video

_FPS: Final = 24
"""Where the pipeline assumes none; most models of today were trained on about so many."""
_RATES: Final = ("frame_rate", "fps")
"""What pipelines call the number of frames a second, if they want to know it."""


def makes_videos(pipeline: Any) -> bool:
    """Whether a pipeline is of the kind that is served here."""
    return "num_frames" in parameters(pipeline)


class VideoPipelineModel(UnbatchedModel):
    """Any diffusers pipeline for videos."""

    def __init__(self, pipeline: Any) -> None:
        self.memory = weight_bytes(pipeline)
        self._pipeline = pipeline
        self._scheduler = pipeline.scheduler
        self.takes_samplers = can_be_changed(self._scheduler)

    def check(self, request: ImageRequest) -> None:
        """Raise `InvalidRequest` for what this model can never do."""
        clip, known = clip_of(request), parameters(self._pipeline)
        make_scheduler(self._scheduler, request.scheduler)
        for name, given in (("image", request.image), ("last_image", clip.last_frame)):
            needed = name in known and known[name].default is known[name].empty
            if given is None and needed:
                raise InvalidRequest(
                    "This model makes videos of images only.", param="input_reference"
                )
            if given is not None and name not in known:
                raise InvalidRequest(
                    f"This model takes no {name.replace('_', ' ')}.", param="input_reference"
                )
        if request.loras:
            raise InvalidRequest("This model takes no LoRAs from requests.", param="loras")

    def generate(self, request: ImageRequest, on_step: OnStep) -> Pictures:
        """Make the videos of the request, a call for each."""
        clip, fps = clip_of(request), self._fps(clip_of(request))
        videos, warnings = [], unheeded(request.quality)
        for number, seed in enumerate(request.seeds):
            scheduler, ignored = make_scheduler(self._scheduler, request.scheduler)
            self._pipeline.scheduler = scheduler
            arguments, told = self._arguments(request, clip, seed, fps)

            def after_step(
                running: Pipeline,
                step: int,
                _timestep: object,
                tensors: dict[str, object],
                number: int = number,
            ) -> dict[str, object]:
                steps = running.num_timesteps
                on_step(number * steps + step + 1, request.count * steps)
                return tensors

            if "callback_on_step_end" in parameters(self._pipeline):
                arguments["callback_on_step_end"] = after_step
            videos.append(write_video(self._frames(request, arguments), fps))
            warnings = [*unheeded(request.quality), *ignored, *told]
        return Pictures([], tuple(warnings), tuple(videos))

    def close(self) -> None:
        """Free the weights' memory."""
        del self._pipeline
        release_memory()

    def _frames(self, request: ImageRequest, arguments: dict[str, object]) -> list[Image.Image]:
        with memory_watched(1, request), refusals_told(), finite_pictures():
            result = self._pipeline(**arguments, output_type="pil")
        frames: list[Image.Image] = result.frames[0]
        return frames

    def _arguments(
        self, request: ImageRequest, clip: Clip, seed: int, fps: int
    ) -> tuple[dict[str, object], list[str]]:
        known = parameters(self._pipeline)
        arguments, ignored = pipeline_arguments(self._pipeline, without_images(request), [seed])
        more: dict[str, object] = {
            "generator": torch.Generator("cpu").manual_seed(seed),
            "width": request.width,
            "height": request.height,
            "image": request.image,
            "last_image": clip.last_frame,
            "num_frames": clip.frames or (round(clip.seconds * fps) if clip.seconds else None),
            **dict.fromkeys(_RATES, fps),
        }
        arguments |= {name: value for name, value in more.items() if value is not None}
        return {name: value for name, value in arguments.items() if name in known}, ignored

    def _fps(self, clip: Clip) -> int:
        own = next((rate for name in _RATES if (rate := default(self._pipeline, name))), _FPS)
        return clip.fps or (round(own) if isinstance(own, int | float) else _FPS)
