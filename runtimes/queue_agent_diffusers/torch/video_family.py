"""From a request for a video to the arguments of a pipeline's call; what each pipeline can do."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from PIL import Image, ImageOps

from queue_agent_diffusers.engine.requests import Clip, ImageRequest
from queue_agent_diffusers.errors import BodyTooLarge, InvalidRequest
from queue_agent_diffusers.torch.architectures.video import VideoArchitecture, whole_default
from queue_agent_diffusers.torch.pipeline_arguments import (
    Family,
    Pipeline,
    parameters,
    pipeline_arguments,
)

MOST_PIXELS: Final = 2**30
"""Of all frames of a video, which are in the host's memory, three bytes each, when it is encoded.

That is a minute of 704x512 at 48 frames a second, or 20 seconds of 1920x1088 at 25.
"""


@dataclass(frozen=True)
class VideoShape:
    """How large a video is made, and how fast it is shown."""

    width: int
    height: int
    frames: int
    fps: int

    @property
    def pixels(self) -> int:
        """Of all frames."""
        return self.width * self.height * self.frames


class VideoFamily(Family):
    """A pipeline for videos with its siblings, which share its weights."""

    def __init__(self, pipeline: Any, architecture: VideoArchitecture) -> None:
        super().__init__(pipeline)
        self._images, self._more = architecture.images, architecture.more
        self._pipelines = architecture.open(pipeline)

    def check(self, request: ImageRequest) -> None:
        """Raise `InvalidRequest` for what none of them can ever do."""
        clip = clip_of(request)
        self.choose(request)
        self.scheduler(request)
        least = self._pipelines.least_steps
        if request.steps is not None and request.steps < least:
            raise InvalidRequest(
                f"This model needs {least} steps at least.", param="num_inference_steps"
            )
        step = self._pipelines.side_step
        for name in ("width", "height"):
            side = getattr(request, name)
            if side is not None and side % step:
                raise InvalidRequest(
                    f"{name}: sides of this model's videos are multiples of {step} pixels, and "
                    f"{side} is none.",
                    param="size",
                )
        shape = self.shape(request)
        if shape.pixels > MOST_PIXELS:
            raise BodyTooLarge(
                f"{shape.frames} frames of {shape.width}x{shape.height} are more than is made in "
                f"one video: {MOST_PIXELS:,} pixels in all.",
                param="num_frames",
            )
        if clip.last_frame is not None and shape.frames == 1:
            raise InvalidRequest("A last frame needs frames before it.", param="num_frames")

    def choose(self, request: ImageRequest) -> Pipeline:
        """The one for the request."""
        clip, own = clip_of(request), self._pipelines
        if clip.last_frame is not None:
            return _there(own.between_images, "This model takes no last frame.", "last_frame")
        if request.image is not None:
            needs_two = own.between_images is not None
            refusal = "This model needs a last frame, too." if needs_two else "It takes no images."
            return _there(own.from_image, refusal, "input_reference")
        return _there(own.from_text, "This model makes videos of images only.", "input_reference")

    def with_what_it_needs(self, request: ImageRequest) -> ImageRequest:
        """The request as one for a video, with grey images where the model needs some."""
        least = self._pipelines.least_steps
        request = dataclasses.replace(request, steps=max(least, request.steps or least))
        if self._pipelines.from_text is not None:
            return dataclasses.replace(request, clip=Clip())
        grey = Image.new("RGB", (64, 64), "grey")
        last = grey if self._pipelines.from_image is None else None
        shape = self.natural_shape()
        return dataclasses.replace(
            request,
            width=shape.width,
            height=shape.height,
            image=grey,
            clip=Clip(last_frame=last),
        )

    def shape(self, request: ImageRequest) -> VideoShape:
        """What is made of what is asked for; the model's own where nobody says it."""
        clip, pipeline = clip_of(request), self.choose(request)
        fps = clip.fps or self._pipelines.fps
        frames = clip.frames
        if frames is None and clip.seconds is not None:
            frames = round(clip.seconds * fps)
        if frames is None:
            frames = self._natural(pipeline).frames
        width, height = self._size(request, pipeline)
        return VideoShape(width, height, self._pipelines.natural_frames(frames), fps)

    def natural_shape(self) -> VideoShape:
        """For which the model was made."""
        return self._natural(self.main)

    def arguments(
        self, request: ImageRequest, seeds: Sequence[int]
    ) -> tuple[dict[str, object], list[str]]:
        """What to call the one for the request with, for the first seed, and what is not as asked.

        Raises:
            InvalidRequest: as by `check`.
        """
        clip, pipeline, shape = clip_of(request), self.choose(request), self.shape(request)
        arguments, ignored = pipeline_arguments(pipeline, without_images(request), seeds[:1])
        arguments |= {"width": shape.width, "height": shape.height, "num_frames": shape.frames}
        # Alone, since not all of these pipelines take a list of one.
        arguments["generator"] = torch.Generator("cpu").manual_seed(seeds[0])
        if "frame_rate" in parameters(pipeline):
            arguments["frame_rate"] = shape.fps
        arguments |= self._more(pipeline, request.guidance_scale)
        if request.image is not None:
            last = None if clip.last_frame is None else _fitted(clip.last_frame, shape)
            first = _fitted(request.image, shape)
            arguments |= self._images(pipeline, first, last, shape.frames)
        return arguments, [*self._rounded(clip, shape), *ignored]

    def _rounded(self, clip: Clip, shape: VideoShape) -> list[str]:
        if clip.frames in {None, shape.frames}:
            return []
        step = self._pipelines.frame_step
        return [f"frames: this model makes {step}n + 1 of them; {shape.frames} were made."]

    def _size(self, request: ImageRequest, pipeline: Pipeline) -> tuple[int, int]:
        """As asked; else about as many pixels as the model's own, in the image's proportions."""
        if request.width is not None and request.height is not None:
            return request.width, request.height
        natural = self._natural(pipeline)
        if request.image is None:
            return natural.width, natural.height
        step, pixels = self._pipelines.side_step, natural.width * natural.height
        stretch = (pixels / (request.image.width * request.image.height)) ** 0.5
        across, down = (max(1, round(side * stretch / step)) for side in request.image.size)
        return across * step, down * step

    def _natural(self, pipeline: Pipeline) -> VideoShape:
        own = self._pipelines
        return VideoShape(
            own.width or whole_default(pipeline, "width"),
            own.height or whole_default(pipeline, "height"),
            own.frames or whole_default(pipeline, "num_frames"),
            own.fps,
        )


def clip_of(request: ImageRequest) -> Clip:
    """What it says of the video; raises `InvalidRequest` where it asks for an image."""
    if request.clip is None:
        raise InvalidRequest(
            "This model makes videos, and no images: ask for one at /v1/videos.", param="model"
        )
    return request.clip


def _there(pipeline: Pipeline | None, refusal: str, param: str) -> Pipeline:
    if pipeline is None:
        raise InvalidRequest(refusal, param=param)
    return pipeline


def without_images(request: ImageRequest) -> ImageRequest:
    """Which `pipeline_arguments` would hand over as image pipelines take them."""
    return dataclasses.replace(request, image=None, mask=None, width=None, height=None)


def _fitted(image: Image.Image, shape: VideoShape) -> Image.Image:
    """Scaled, and cut where its proportions are others."""
    return ImageOps.fit(image, (shape.width, shape.height), Image.Resampling.LANCZOS)
