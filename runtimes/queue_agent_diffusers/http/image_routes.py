"""The two routes that make images."""

import asyncio
import dataclasses
import secrets
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from PIL import Image
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.datastructures import FormData, UploadFile

from queue_agent.telemetry.stages import StageSpans
from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.jobs import EngineJob
from queue_agent_diffusers.engine.names import Names
from queue_agent_diffusers.engine.requests import ImageRequest, LoraWeight, Pictures
from queue_agent_diffusers.errors import InvalidRequest, NotReady
from queue_agent_diffusers.http import streaming
from queue_agent_diffusers.http.api import CommonFields, EditRequest, Fields, GenerationRequest
from queue_agent_diffusers.http.checkpoints import UploadedCheckpoints, with_its_seed
from queue_agent_diffusers.http.conditions import with_conditions
from queue_agent_diffusers.http.images import (
    MAX_IMAGES,
    decode_image,
    encode_answer,
    fit_image,
    fit_mask,
    natural_size,
    reduced_image,
)
from queue_agent_diffusers.http.middleware import request_id

MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of a request."""
_DECODED_AT_ONCE: Final = 1
"""Requests whose images are decoded: one of `MAX_INPUT_PIXELS` takes several hundred MB."""

F = TypeVar("F", bound=Fields)


def add_image_routes(
    app: FastAPI, engine: Engine, names: Names, uploaded: UploadedCheckpoints
) -> None:
    """Add them to the application."""
    decoding = asyncio.Semaphore(_DECODED_AT_ONCE)

    @app.post("/v1/images/generations")
    async def generate(body: GenerationRequest, request: Request) -> Response:
        wanted = image_request(body, names)
        if body.controls or body.ip_adapters:
            _check_ready(engine)
            async with decoding:
                wanted = await asyncio.to_thread(with_conditions, body, wanted)
        return await _answer(engine, uploaded, request, body, wanted)

    @app.post("/v1/images/edits", openapi_extra=form_body(EditRequest, ("image", "mask")))
    async def edit(request: Request) -> Response:
        _check_ready(engine)
        # Images stand in fields, too.
        files = MAX_IMAGES + 2
        async with request.form(max_files=files, max_fields=64, max_part_size=MAX_BODY) as form:
            body = parsed_form(EditRequest, form)
            start = image_request(body, names)
            async with decoding:
                images, mask = await _read_files(form, "image"), await read_file(form, "mask")
                if not 1 <= len(images) <= MAX_IMAGES:
                    asked = f"From one to {MAX_IMAGES} images are required, and not {len(images)}."
                    raise InvalidRequest(asked, param="image")
                wanted = await asyncio.to_thread(_edit_request, body, start, images, mask)
                wanted = await asyncio.to_thread(with_conditions, body, wanted)
        return await _answer(engine, uploaded, request, body, wanted)


def _check_ready(engine: Engine) -> None:
    """Before anything is decoded for nothing."""
    if not engine.ready:
        raise NotReady("The model is still loading.")


def invalid_request(faults: Sequence[ErrorDetails]) -> InvalidRequest:
    """One error for all faulty fields; `param` names the first."""
    places = [
        ".".join(part for part in fault["loc"] if isinstance(part, str) and part != "body")
        for fault in faults
    ]
    words = [
        f"{place or 'body'}: {fault['msg']}" for place, fault in zip(places, faults, strict=True)
    ]
    return InvalidRequest("; ".join(words), param=places[0] or None)


async def _answer(
    engine: Engine,
    uploaded: UploadedCheckpoints,
    request: Request,
    body: GenerationRequest,
    wanted: ImageRequest,
) -> Response:
    checkpoint = uploaded.take(request_id(request))
    if body.seed is None:
        wanted = with_its_seed(wanted, checkpoint)
    if body.stream:
        return _stream(engine, request, body, wanted, checkpoint)
    pictures = await pictures_of(engine, request, wanted, checkpoint)
    answer = await asyncio.to_thread(
        encode_answer,
        pictures.images,
        wanted.seeds,
        output_format=body.output_format,
        quality=body.output_compression,
        warnings=[*body.warnings, *pictures.warnings],
    )
    return Response(answer, media_type="application/json")


async def pictures_of(
    engine: Engine, request: Request, wanted: ImageRequest, checkpoint: bytes | None = None
) -> Pictures:
    """What the engine makes of it, unless its client goes away."""
    job = engine.submit(
        request_id(request), wanted, stages=spans_of(request), checkpoint=checkpoint
    )
    watcher = asyncio.create_task(_cancel_when_gone(request, job))
    try:
        return await asyncio.wrap_future(job.result)
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


def spans_of(request: Request) -> StageSpans:
    """The job's spans, in the trace that the request's headers continue."""
    return StageSpans.of_request(request.app.state.tracer, request.headers, "generate")


def _stream(
    engine: Engine,
    request: Request,
    body: GenerationRequest,
    wanted: ImageRequest,
    checkpoint: bytes | None,
) -> Response:
    operation: streaming.Operation = (
        "image_edit" if isinstance(body, EditRequest) else "image_generation"
    )
    stream = streaming.Stream(operation, body.output_format, body.warnings, body.output_compression)
    wanted = dataclasses.replace(wanted, previews=body.partial_images)
    job = engine.submit(request_id(request), wanted, stream.listen, spans_of(request), checkpoint)
    return StreamingResponse(
        stream.events(job),
        media_type=streaming.MEDIA_TYPE,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _cancel_when_gone(request: Request, job: EngineJob) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    job.cancel()


def image_request(body: CommonFields, names: Names) -> ImageRequest:
    """What the fields ask for, but for pictures."""
    width, height = body.dimensions or (None, None)
    return ImageRequest(
        model=names.source(body.model),
        prompt=body.prompt,
        negative_prompt=body.negative_prompt,
        seed=secrets.randbits(32) if body.seed is None else body.seed,
        count=body.n,
        width=width,
        height=height,
        steps=body.num_inference_steps,
        guidance_scale=body.guidance_scale,
        true_cfg_scale=body.true_cfg_scale,
        scheduler=body.scheduler,
        quality=body.quality,
        preview_interval=body.preview_interval,
        loras=tuple(LoraWeight(lora.name, lora.scale) for lora in body.loras),
    )


def _edit_request(
    body: EditRequest, start: ImageRequest, images: Sequence[bytes], mask: bytes | None
) -> ImageRequest:
    fitted = _fit_image(images[0], body.dimensions)
    return dataclasses.replace(
        start,
        width=fitted.width,
        height=fitted.height,
        image=fitted,
        references=tuple(reduced_image(decode_image(one, field="image")) for one in images[1:]),
        mask=None if mask is None else _fit_mask(mask, fitted.size),
        strength=body.strength,
    )


def _fit_image(image: bytes, size: tuple[int, int] | None) -> Image.Image:
    """Of that size, else of its own; what was decoded is gone before the mask is."""
    picture = decode_image(image, field="image")
    return fit_image(picture, size or natural_size(picture))


def _fit_mask(mask: bytes, size: tuple[int, int]) -> Image.Image:
    return fit_mask(decode_image(mask, field="mask"), size)


def parsed_form(kind: type[F], form: FormData) -> F:
    """The fields of a form beside its files.

    Raises:
        InvalidRequest: they are wrong.
    """
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(error.errors()) from error


async def read_file(form: FormData, name: str) -> bytes | None:
    """The one file of that name; ``image[]`` is how some clients spell a list."""
    files = await _read_files(form, name)
    if len(files) > 1:
        raise InvalidRequest(f"{len(files)} files are named {name}, and not one.", param=name)
    return files[0] if files else None


async def _read_files(form: FormData, name: str) -> list[bytes]:
    files = [*form.getlist(name), *form.getlist(f"{name}[]")]
    read = [await one.read() for one in files if isinstance(one, UploadFile)]
    if len(read) < len(files):
        raise InvalidRequest(f"{name} must be sent as a file.", param=name)
    return read


def form_body(kind: type[Fields], files: Sequence[str]) -> dict[str, Any]:
    """A form as OpenAPI describes it: the fields, and the files beside them, first the needed."""
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    in_json = {"type": "string", "description": "A list in JSON."}
    lists = {"loras", "controls", "ip_adapters"} & schema["properties"].keys()
    schema["properties"] |= dict.fromkeys(lists, in_json)
    schema["properties"] |= {name: {"type": "string", "format": "binary"} for name in files}
    schema["required"] = [*schema.get("required", []), files[0]]
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }
