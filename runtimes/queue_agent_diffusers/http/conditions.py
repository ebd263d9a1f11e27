"""From a request's ControlNets and IP-Adapters to what the engine is given."""

import dataclasses

from PIL import Image

from queue_agent_diffusers.engine.requests import ControlInput, ImagePrompt, ImageRequest
from queue_agent_diffusers.http.api import GenerationRequest
from queue_agent_diffusers.http.images import decode_text, fit_image, natural_size, reduced_image


def with_conditions(body: GenerationRequest, wanted: ImageRequest) -> ImageRequest:
    """The request with the images that lead it, decoded and of its size.

    Where it has none of its own, the first image's is its size.

    Raises:
        InvalidRequest: one of them is no image; `BodyTooLarge` where it has too many pixels.
    """
    size = (wanted.width, wanted.height) if wanted.width and wanted.height else None
    controls = []
    for number, control in enumerate(body.controls):
        picture = decode_text(control.image, field=f"controls.{number}.image")
        size = size or natural_size(picture)
        fitted = fit_image(picture, size)
        controls.append(
            ControlInput(
                control.name, fitted, control.scale, control.start, control.end, control.mode
            )
        )
    prompts = [
        ImagePrompt(one.name, _read(one.image, number), one.scale)
        for number, one in enumerate(body.ip_adapters)
    ]
    width, height = size or (None, None)
    return dataclasses.replace(
        wanted, width=width, height=height, controls=tuple(controls), image_prompts=tuple(prompts)
    )


def _read(text: str, number: int) -> Image.Image:
    return reduced_image(decode_text(text, field=f"ip_adapters.{number}.image"))
