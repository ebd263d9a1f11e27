"""A diffusers pipeline as the engine's model: one call, and what each pipeline can do."""

import inspect
from collections.abc import Mapping
from typing import Any, Final, Protocol, Self

import diffusers
import torch
from PIL import Image
from pydantic import JsonValue

from queue_agent import samplers
from runtimes.diffusers.engine import ImageRequest, OnStep, Pictures
from runtimes.diffusers.errors import InvalidRequest, OutOfMemory

library: Any = diffusers
"""diffusers ships annotations for some of its names only."""

_OPTIONAL: Final = ("negative_prompt", "guidance_scale", "true_cfg_scale")


class Scheduler(Protocol):
    """What is used of diffusers' schedulers."""

    config: Mapping[str, JsonValue]

    @classmethod
    def from_config(cls, config: Mapping[str, JsonValue], **options: JsonValue) -> Self: ...


class PipelineOutput(Protocol):
    """What a pipeline's call returns."""

    images: list[Image.Image]


class Pipeline(Protocol):
    """What is used of diffusers' pipelines."""

    scheduler: Scheduler

    @property
    def num_timesteps(self) -> int: ...

    def to(self, device: torch.device) -> Self: ...

    def set_progress_bar_config(self, *, disable: bool) -> None: ...

    def __call__(self, **arguments: object) -> PipelineOutput: ...


class DiffusersModel:
    """A pipeline with its siblings for image-to-image and inpainting, which share its weights."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._scheduler = pipeline.scheduler
        vae = getattr(pipeline, "vae", None)
        if vae is not None and hasattr(vae, "enable_slicing"):
            vae.enable_slicing()  # the decoder's memory then does not grow with the count
        self._from_image = _sibling(library.AutoPipelineForImage2Image, pipeline)
        self._inpainting = _sibling(library.AutoPipelineForInpainting, pipeline)

    def check(self, request: ImageRequest) -> None:
        """Raise `InvalidRequest` for what this model can never do."""
        pipeline = self._choose(request)
        self._make_scheduler(request.scheduler)
        if request.image and request.strength is not None:
            steps = request.steps or _default(pipeline, "num_inference_steps")
            if isinstance(steps, int) and int(steps * request.strength) < 1:
                raise InvalidRequest(
                    f"{steps} steps at strength {request.strength} leave no step to do.",
                    param="strength",
                )

    def generate(self, request: ImageRequest, on_step: OnStep) -> Pictures:
        """Make all images of the request in one batch."""
        pipeline = self._choose(request)
        pipeline.scheduler, warnings = self._make_scheduler(request.scheduler)
        arguments, ignored = _arguments(pipeline, request)

        def after_step(
            running: Pipeline, step: int, _timestep: object, tensors: dict[str, object]
        ) -> dict[str, object]:
            on_step(step + 1, running.num_timesteps)
            return tensors

        if "callback_on_step_end" in _parameters(pipeline):
            arguments["callback_on_step_end"] = after_step
        try:
            result = pipeline(**arguments)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            size = f" of {request.width}x{request.height}" if request.width else ""
            raise OutOfMemory(
                f"{request.count} image(s){size} do not fit in the device's memory."
            ) from error
        return Pictures(result.images, (*warnings, *ignored, *_withheld(result)))

    def _choose(self, request: ImageRequest) -> Pipeline:
        if request.image is None:
            return self._pipeline
        chosen = self._inpainting if request.mask else self._from_image
        if chosen is None:
            param = "mask" if request.mask else "image"
            raise InvalidRequest(
                f"{type(self._pipeline).__name__} cannot work with a given {param}.", param=param
            )
        return chosen

    def _make_scheduler(self, name: str | None) -> tuple[Scheduler, list[str]]:
        """A scheduler of the request's own, since schedulers have state."""
        base = self._scheduler
        if name is None:
            return type(base).from_config(base.config), []
        if not getattr(base, "compatibles", None):
            raise InvalidRequest(
                f"The scheduler of {type(self._pipeline).__name__} cannot be changed.",
                param="scheduler",
            )
        class_name, options = _scheduler_class(name)
        kind = getattr(library, class_name)
        known = inspect.signature(kind.__init__).parameters
        unknown = [option for option in options if option not in known]
        try:
            scheduler: Scheduler = kind.from_config(
                base.config, **{key: value for key, value in options.items() if key in known}
            )
        except (ImportError, ValueError, NotImplementedError) as error:
            raise InvalidRequest(f"{name!r} cannot be used: {error}", param="scheduler") from error
        return scheduler, [f"scheduler: {class_name} has no {option}." for option in unknown]


def _scheduler_class(name: str) -> tuple[str, Mapping[str, JsonValue]]:
    choice = samplers.choose(name, None)
    if choice.sampler is None or choice.sampler.diffusers is None:
        known = ", ".join(
            sampler.webui or sampler.diffusers for sampler in samplers.SAMPLERS if sampler.diffusers
        )
        raise InvalidRequest(f"Unknown scheduler {name!r}; known: {known}.", param="scheduler")
    options = dict(choice.sampler.diffusers_options)
    if name != choice.sampler.diffusers and choice.schedule:
        if choice.schedule.diffusers is None:
            raise InvalidRequest(
                f"The schedule {choice.schedule.webui!r} is not known to diffusers.",
                param="scheduler",
            )
        options.update(choice.schedule.diffusers)
    return choice.sampler.diffusers, options


def _arguments(pipeline: Pipeline, request: ImageRequest) -> tuple[dict[str, object], list[str]]:
    """What to call the pipeline with, and what of the request it has no word for.

    Each image is a row of its own, images and masks included: a pipeline given one image for
    many generators would draw from the first generator only, and image i would not be the
    image that its seed gives alone.
    """
    known = _parameters(pipeline)
    arguments: dict[str, object] = {
        "prompt": [request.prompt] * request.count,
        # On the CPU, so that a seed means the same noise on every device.
        "generator": [torch.Generator("cpu").manual_seed(seed) for seed in request.seeds],
    }
    if request.steps is not None:
        arguments["num_inference_steps"] = request.steps
    if request.image is not None:
        arguments["image"] = [request.image] * request.count
    if request.mask is not None:
        arguments["mask_image"] = [request.mask] * request.count
    for name in ("width", "height", "strength"):
        value = getattr(request, name)
        if value is not None and name in known:
            arguments[name] = value
    ignored = []
    for name in _OPTIONAL:
        value = getattr(request, name)
        if not value and value != 0:
            continue
        if name in known:
            arguments[name] = [value] * request.count if isinstance(value, str) else value
        else:
            ignored.append(f"{name}: {type(pipeline).__name__} has no use for it; ignored.")
    return arguments, ignored


def _sibling(kind: Any, pipeline: Pipeline) -> Pipeline | None:
    try:
        sibling: Pipeline = kind.from_pipe(pipeline)
    except ValueError:
        return None
    sibling.set_progress_bar_config(disable=True)
    return sibling


def _parameters(pipeline: Pipeline) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(pipeline.__call__).parameters


def _default(pipeline: Pipeline, name: str) -> object:
    parameter = _parameters(pipeline).get(name)
    return parameter.default if parameter else None


def _is_out_of_memory(error: Exception) -> bool:
    """On the CPU torch says so in words only."""
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or "can't allocate memory" in str(error)
        or "out of memory" in str(error)
    )


def _withheld(result: object) -> list[str]:
    flags = getattr(result, "nsfw_content_detected", None) or []
    return [
        f"Image {number} was withheld by the model's safety checker."
        for number, flagged in enumerate(flags, 1)
        if flagged
    ]
