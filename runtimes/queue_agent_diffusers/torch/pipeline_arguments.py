"""From a request to the arguments of a pipeline's call; what each pipeline can do."""

import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol, Self

import torch
from PIL import Image

from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.errors import ContentWithheld, InvalidRequest
from queue_agent_diffusers.torch.control_nets import ControlNets
from queue_agent_diffusers.torch.schedulers import Scheduler, can_be_changed, make_scheduler
from queue_agent_diffusers.torch.siblings import library, sibling

_BETWEEN: Final = "intermediate_timesteps"
"""Of which pipelines have a default that suits their default number of steps alone."""
_OPTIONAL: Final = ("negative_prompt", "guidance_scale", "true_cfg_scale")
_FROM_IMAGE: Final = {"ChromaPipeline": "ChromaImg2ImgPipeline"}
_INPAINTING: Final = {
    "ChromaPipeline": "ChromaInpaintPipeline",
    "Flux2KleinPipeline": "Flux2KleinInpaintPipeline",
    "FluxFillPipeline": "FluxFillPipeline",
    "FluxKontextPipeline": "FluxKontextInpaintPipeline",
}
"""Those that diffusers' own tables lack."""
_SEVERAL: Final = frozenset({"Flux2Pipeline", "Flux2KleinPipeline", "QwenImageEditPlusPipeline"})
"""Those that take a list of images as several to look at for one result."""
_BESIDE: Final = "image_reference"
"""What the others call the one image that they only look at, if they do."""
_NEEDED: Final = {
    "FluxFillPipeline": "mask",
    "QwenImageEditPipeline": "image",
    "QwenImageEditPlusPipeline": "image",
}
"""What pipelines cannot work without, although it is optional by their signatures."""


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


class Family:
    """A pipeline with its siblings for image-to-image and inpainting, which share its weights."""

    def __init__(self, pipeline: Pipeline, control_nets: ControlNets | None = None) -> None:
        self.main = pipeline
        self._scheduler = pipeline.scheduler
        self._control_nets = control_nets or ControlNets()
        self._from_image = _found_sibling(_FROM_IMAGE, library.AutoPipelineForImage2Image, pipeline)
        self._inpainting = _found_sibling(_INPAINTING, library.AutoPipelineForInpainting, pipeline)

    @property
    def takes_samplers(self) -> bool:
        """Whether another scheduler can stand in for the pipeline's own."""
        return can_be_changed(self._scheduler)

    def check(self, request: ImageRequest) -> None:
        """Raise `InvalidRequest` for what none of them can ever do."""
        if request.clip is not None:
            raise InvalidRequest("This model makes images, and no videos.", param="model")
        pipeline = self.choose(request)
        self.scheduler(request)
        steps = request.steps or default(pipeline, "num_inference_steps")
        strength = _strength(pipeline, request)
        if isinstance(steps, int) and strength is not None and int(steps * strength) < 1:
            of_the_model = " (the model's own)" if request.strength is None else ""
            raise InvalidRequest(
                f"{steps} steps at strength {strength}{of_the_model} leave no step to do.",
                param="strength",
            )

    def choose(self, request: ImageRequest) -> Pipeline:
        """The one for the request."""
        needed = _NEEDED.get(type(self.main).__name__) or _needed(self.main)
        if needed and getattr(request, needed) is None:
            raise InvalidRequest(f"This model works on a given {needed} only.", param=needed)
        if request.controls:
            led: Pipeline = self._control_nets.pipeline(self.main, request)
            return led
        if request.image is None:
            return self.main
        chosen = self._inpainting if request.mask else self._from_image
        if chosen is None and ("mask_image" if request.mask else "image") in parameters(self.main):
            return self.main
        if chosen is None:
            param = "mask" if request.mask else "image"
            raise InvalidRequest(
                f"{type(self.main).__name__} cannot work with a given {param}.", param=param
            )
        return chosen

    def arguments(
        self, request: ImageRequest, seeds: Sequence[int]
    ) -> tuple[dict[str, object], list[str]]:
        """What to call the one for the request with, and what it has no word for."""
        return pipeline_arguments(self.choose(request), request, seeds, self._control_nets)

    def scheduler(self, request: ImageRequest) -> tuple[Scheduler, list[str]]:
        """A scheduler for the request alone, and what of its name was ignored."""
        return make_scheduler(self._scheduler, request.scheduler)


def pipeline_arguments(
    pipeline: Pipeline,
    request: ImageRequest,
    seeds: Sequence[int],
    control_nets: ControlNets | None = None,
) -> tuple[dict[str, object], list[str]]:
    """What to call the pipeline with for these seeds, and what it has no word for.

    Each image is a row of its own, images and masks included: a pipeline given one image for
    many generators would draw from the first generator only, and image i would not be the
    image that its seed gives alone.
    """
    known = parameters(pipeline)
    count = len(seeds)
    arguments: dict[str, object] = {
        "prompt": [request.prompt] * count,
        # On the CPU, so that a seed means the same noise on every device.
        "generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds],
    }
    arguments |= _steps(pipeline, request)
    if control_nets is not None:
        arguments |= control_nets.arguments(known, request.controls)
    if request.image_prompts:
        arguments["ip_adapter_image"] = [prompt.image for prompt in request.image_prompts]
    images, ignored = _images(pipeline, request, count)
    arguments |= images
    if request.mask is not None:
        arguments["mask_image"] = _for_each(request.mask, count)
    for name in ("width", "height", "strength"):
        value = getattr(request, name)
        if value is not None and name in known:
            arguments[name] = value
    if "max_area" in known and request.width and request.height:
        arguments["max_area"] = request.width * request.height  # else the size is not kept
    for name in _OPTIONAL:
        value = getattr(request, name)
        if not value and value != 0:
            continue
        if name in known:
            arguments[name] = [value] * count if isinstance(value, str) else value
        else:
            ignored.append(f"{name}: {type(pipeline).__name__} has no use for it; ignored.")
    return arguments, [*_rounded(pipeline, request), *ignored]


def _steps(pipeline: Pipeline, request: ImageRequest) -> dict[str, object]:
    """How many there are, and no times between that were thought out for another number."""
    if request.steps is None:
        return {}
    told: dict[str, object] = {"num_inference_steps": request.steps}
    if _BETWEEN in parameters(pipeline) and request.steps != default(pipeline, *told):
        told[_BETWEEN] = None
    return told


def _images(
    pipeline: Pipeline, request: ImageRequest, count: int
) -> tuple[dict[str, object], list[str]]:
    """Arguments with what to start from and to look at, and what cannot be looked at."""
    if request.image is None:
        return {}, []
    beside = [*request.references]
    if type(pipeline).__name__ in _SEVERAL:
        return {"image": [request.image, *beside]}, []
    images = {"image": _for_each(request.image, count)}
    if beside and _BESIDE in parameters(pipeline):
        images[_BESIDE] = beside.pop(0)
    used, given = len(images), 1 + len(request.references)
    told = [f"image: of {given} the model works on the first {used} only."]
    return images, told if used < given else []


def _for_each(image: Image.Image, count: int) -> object:
    """One goes by itself: pipelines that edit take a list as several images for one result."""
    return image if count == 1 else [image] * count


def _rounded(pipeline: Pipeline, request: ImageRequest) -> list[str]:
    """What becomes of a size that the model's latents cannot have."""
    factor = getattr(pipeline, "vae_scale_factor", None)
    width = request.width or (request.image.width if request.image else None)
    height = request.height or (request.image.height if request.image else None)
    if not factor or not width or not height or width % factor == height % factor == 0:
        return []
    made = f"{width // factor * factor}x{height // factor * factor}"
    return [f"size: sides of this model's images are multiples of {factor}; {made} was made."]


def _strength(pipeline: Pipeline, request: ImageRequest) -> float | None:
    """What the steps of an edit are multiplied by.

    Of pipelines' own strengths only those with a UNet do less than a step by rounding down.
    """
    if request.image is None:
        return None
    if request.strength is not None:
        return request.strength
    own = default(pipeline, "strength") if hasattr(pipeline, "unet") else None
    return own if isinstance(own, float) else None


def parameters(pipeline: Pipeline) -> Mapping[str, inspect.Parameter]:
    """What the pipeline's call takes."""
    return _parameters(type(pipeline))


@functools.cache
def _parameters(kind: type[Pipeline]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(kind.__call__).parameters


def _needed(pipeline: Pipeline) -> str | None:
    """What its call cannot do without, by its signature."""
    image = parameters(pipeline).get("image")
    return "image" if image is not None and image.default is image.empty else None


def default(pipeline: Pipeline, name: str) -> object:
    """What the pipeline's call assumes for an argument."""
    parameter = parameters(pipeline).get(name)
    return parameter.default if parameter else None


@contextmanager
def refusals_told() -> Iterator[None]:
    """Raise `InvalidRequest` for a `ValueError`, by which pipelines refuse what they are given."""
    try:
        yield
    except ValueError as error:
        raise InvalidRequest(f"The model refuses it: {error}") from error


def withheld(flags: Sequence[bool]) -> list[str]:
    """One sentence for each image that the safety checker flagged, and made black.

    Raises:
        ContentWithheld: it flagged all of them.
    """
    if flags and all(flags):
        raise ContentWithheld("All images were withheld by the model's safety checker.")
    return [
        f"Image {number} was withheld by the model's safety checker."
        for number, flagged in enumerate(flags, 1)
        if flagged
    ]


def _found_sibling(ours: Mapping[str, str], theirs: Any, pipeline: Pipeline) -> Pipeline | None:
    found: Pipeline
    known = ours.get(type(pipeline).__name__)
    if known:
        found = sibling(known, pipeline)
        return found
    try:
        found = theirs.from_pipe(pipeline)
    except ValueError:
        return None
    found.set_progress_bar_config(disable=True)
    return found
