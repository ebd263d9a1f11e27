"""Upscalers of diffusers: pipelines that make an image larger, tile by tile."""

import dataclasses
import math
from typing import Any, Final

from PIL import Image

from queue_agent_diffusers.engine.model import OnStep
from queue_agent_diffusers.engine.requests import ImageRequest, Pictures
from queue_agent_diffusers.engine.tiling import enlarge_by_tiles, tiles_of
from queue_agent_diffusers.engine.unbatched import UnbatchedModel
from queue_agent_diffusers.errors import InvalidRequest, OutOfMemory
from queue_agent_diffusers.torch.finite import finite_pictures
from queue_agent_diffusers.torch.memory import memory_watched, release_memory, weight_bytes
from queue_agent_diffusers.torch.pipeline_arguments import default, pipeline_arguments
from queue_agent_diffusers.torch.schedulers import make_scheduler

_FACTORS: Final = {
    "StableDiffusionUpscalePipeline": 4,
    "StableDiffusionLatentUpscalePipeline": 2,
}
MULTIPLE: Final = 64
"""What sides of tiles are multiples of, in pixels, as the networks halve them several times."""
TILE: Final = 256


def can_upscale(pipeline: object) -> bool:
    """Whether a pipeline is of the kind that `UpscalerModel` serves."""
    return type(pipeline).__name__ in _FACTORS


class UpscalerModel(UnbatchedModel):
    """One such pipeline."""

    takes_samplers = False

    def __init__(self, pipeline: Any) -> None:
        self.memory = weight_bytes(pipeline)
        self._pipeline = pipeline
        self._scheduler = pipeline.scheduler
        self._factor = _FACTORS[type(pipeline).__name__]
        self._tile = TILE

    def check(self, request: ImageRequest) -> None:
        """Raise `InvalidRequest` for what this model can never do."""
        if not request.enlarge:
            raise InvalidRequest("This model makes images larger, and no others.", param="model")

    def generate(self, request: ImageRequest, on_step: OnStep) -> Pictures:
        """Enlarge the image as often as it takes, and bring it to the size that is asked for.

        Where a tile does not fit in memory, smaller ones are taken from then on.
        """
        if request.image is None or request.width is None or request.height is None:
            raise InvalidRequest("An image and a size are required.", param="image")
        while True:
            try:
                return self._enlarged(
                    request.image, (request.width, request.height), request, on_step
                )
            except OutOfMemory:
                if self._tile <= MULTIPLE:
                    raise
                self._tile //= 2

    def close(self) -> None:
        """Free the weights' memory."""
        del self._pipeline, self._scheduler
        release_memory()

    def _enlarged(
        self, picture: Image.Image, size: tuple[int, int], request: ImageRequest, on_step: OnStep
    ) -> Pictures:
        passes = self._passes(picture.size, size)
        steps = request.steps or default(self._pipeline, "num_inference_steps")
        each = steps if isinstance(steps, int) else 1
        total = each * sum(
            len(tiles_of((picture.width * scale, picture.height * scale), self._tile, MULTIPLE))
            for scale in (self._factor**number for number in range(passes))
        )
        done, ignored = 0, set[str]()

        def tile(piece: Image.Image, number: int) -> Image.Image:
            nonlocal done
            begun = done

            def after(step: int, *_: object) -> None:
                on_step(begun + min(step + 1, each), total)

            made, complaints = self._piece(piece, number, request, after)
            ignored.update(complaints)
            done += each
            return made

        for _ in range(passes):
            picture = enlarge_by_tiles(
                picture, self._factor, tile, tile=self._tile, multiple=MULTIPLE
            )
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        return Pictures([picture], tuple(sorted(ignored)))

    def _passes(self, size: tuple[int, int], wanted: tuple[int, int]) -> int:
        """How often the pipeline has to be called to come to that size, or beyond it."""
        scale = max(large / small for small, large in zip(size, wanted, strict=True))
        return max(0, math.ceil(math.log(scale, self._factor) - 1e-9))

    def _piece(
        self, piece: Image.Image, number: int, request: ImageRequest, after: Any
    ) -> tuple[Image.Image, list[str]]:
        part = dataclasses.replace(request, image=piece, width=None, height=None)
        seed = (request.seed + number) % 2**64
        arguments, ignored = pipeline_arguments(self._pipeline, part, [seed])
        # One tile needs no lists, which not all of these pipelines take.
        single = {
            name: value[0] if isinstance(value, list) else value
            for name, value in arguments.items()
        }
        self._pipeline.scheduler, _ = make_scheduler(self._scheduler, None)
        with memory_watched(1, request), finite_pictures():
            result = self._pipeline(**single, callback=after)
        [made] = result.images
        return made, ignored
