"""The route that makes images larger."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Final

from fastapi import FastAPI, Request, Response
from PIL import Image

from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.errors import BodyTooLarge, InvalidRequest, UnknownInput
from queue_agent_diffusers.http.api import UpscaleRequest
from queue_agent_diffusers.http.image_routes import form_body, parsed_form, pictures_of, read_file
from queue_agent_diffusers.http.images import (
    LANCZOS,
    MAX_INPUT_PIXELS,
    decode_image,
    encode_answer,
    fit_image,
)

MAX_OUTPUT_PIXELS: Final = MAX_INPUT_PIXELS
_AT_ONCE: Final = 1
"""Images that are decoded, or enlarged without a model: each takes several hundred MB."""


def add_upscale_routes(app: FastAPI, engine: Engine, upscalers: Mapping[str, str]) -> None:
    """Add it to the application; `upscalers` are the sources of models, by their names."""
    resizing = asyncio.Semaphore(_AT_ONCE)

    @app.post("/v1/images/upscales", openapi_extra=form_body(UpscaleRequest, ("image",)))
    async def upscale(request: Request) -> Response:
        async with request.form(max_files=1, max_fields=64) as form:
            body = parsed_form(UpscaleRequest, form)
            model = _model(body.upscaler, upscalers)
            data = await read_file(form, "image")
        if data is None:
            raise InvalidRequest("An image is required.", param="image")
        async with resizing:
            picture = await asyncio.to_thread(decode_image, data, field="image")
            size = _size(picture, body.scale)
            if model is None:
                return await asyncio.to_thread(_plain_answer, body, picture, size)
            opaque = await asyncio.to_thread(fit_image, picture, picture.size)
        wanted = ImageRequest(
            model=model,
            prompt=body.prompt,
            negative_prompt=body.negative_prompt,
            seed=secrets.randbits(32) if body.seed is None else body.seed,
            steps=body.num_inference_steps,
            guidance_scale=body.guidance_scale,
            image=opaque,
            width=size[0],
            height=size[1],
            enlarge=True,
        )
        pictures = await pictures_of(engine, request, wanted)
        return await asyncio.to_thread(
            _answer, body, pictures.images, wanted.seed, pictures.warnings
        )


def _model(name: str, upscalers: Mapping[str, str]) -> str | None:
    """The source of the upscaler of that name; None where it needs no model."""
    if name.casefold() == LANCZOS:
        return None
    if name not in upscalers:
        there = (LANCZOS, *sorted(upscalers))
        raise UnknownInput.of("upscaler", name, there, param="upscaler")
    return upscalers[name]


def _size(picture: Image.Image, scale: float) -> tuple[int, int]:
    width, height = (max(1, round(side * scale)) for side in picture.size)
    if width * height > MAX_OUTPUT_PIXELS:
        raise BodyTooLarge(
            f"The image would have {width}x{height} pixels, more than {MAX_OUTPUT_PIXELS}.",
            param="scale",
        )
    return width, height


def _plain_answer(body: UpscaleRequest, picture: Image.Image, size: tuple[int, int]) -> Response:
    """With the picture's transparency, if it has any."""
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    return _answer(body, [picture.convert(mode).resize(size, Image.Resampling.LANCZOS)], None)


def _answer(
    body: UpscaleRequest,
    images: list[Image.Image],
    seed: int | None,
    warnings: Sequence[str] = (),
) -> Response:
    if body.output_format == "jpeg":  # which has no transparency
        images = [fit_image(image, image.size) for image in images]
    answer = encode_answer(
        images,
        [seed],
        output_format=body.output_format,
        quality=body.output_compression,
        warnings=[*body.warnings, *warnings],
    )
    return Response(answer, media_type="application/json")
