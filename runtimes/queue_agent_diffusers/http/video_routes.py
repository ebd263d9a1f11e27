"""The routes that make videos: jobs that are asked about until they have ended."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from PIL import Image
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from queue_agent.media.byte_ranges import ByteRange, NoSuchPart, has_already, range_asked
from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.names import Names
from queue_agent_diffusers.engine.requests import ImageRequest, VideoFile
from queue_agent_diffusers.errors import InvalidRequest, NoSuchRange, NotReady
from queue_agent_diffusers.http.checkpoints import UploadedCheckpoints, with_its_seed
from queue_agent_diffusers.http.image_routes import image_request, invalid_request, spans_of
from queue_agent_diffusers.http.images import decode_image, fit_image
from queue_agent_diffusers.http.middleware import request_id
from queue_agent_diffusers.http.video_api import (
    ForgottenVideo,
    VideoFields,
    VideoRecord,
    VideoRecords,
)
from queue_agent_diffusers.http.video_jobs import VideoJobs

STOPS_WITHIN: Final = 3.0
"""Seconds that a deletion waits for the work on the job to end."""
_PIECE: Final = 2**18
_DECODED_AT_ONCE: Final = 1
"""Requests whose images are decoded."""
_FIRST, _LAST, _BOTH = "input_reference", "last_frame", "input_references"


def add_video_routes(
    app: FastAPI, engine: Engine, names: Names, uploaded: UploadedCheckpoints
) -> None:
    """Add them to the application."""
    jobs, decoding = VideoJobs(), asyncio.Semaphore(_DECODED_AT_ONCE)

    @app.post("/v1/videos", openapi_extra=_BODY)
    async def create_video(request: Request) -> VideoRecord:
        if not engine.ready:
            raise NotReady("The model is still loading.")
        async with request.form(max_files=4, max_fields=64) as form:
            fields = await _fields(request, form)
            wanted = dataclasses.replace(image_request(fields, names), clip=fields.clip)
            async with decoding:
                wanted = await _with_images(form, wanted)
        checkpoint = uploaded.take(request_id(request))
        if fields.seed is None:
            wanted = with_its_seed(wanted, checkpoint)
        job = engine.submit(
            request_id(request), wanted, stages=spans_of(request), checkpoint=checkpoint
        )
        model = names.listed(wanted.model or engine.pool.names[0])
        return jobs.add(job, model, fields.warnings).record

    @app.get("/v1/videos")
    async def list_videos() -> VideoRecords:
        return VideoRecords(data=[job.record for job in jobs])

    @app.get("/v1/videos/{video_id}")
    async def get_video(video_id: str) -> VideoRecord:
        return jobs.find(video_id).record

    @app.get("/v1/videos/{video_id}/content", response_class=Response, responses=_CONTENT)
    async def video_content(
        request: Request, video_id: str, variant: str | None = None
    ) -> Response:
        video = jobs.find(video_id).video(variant)
        headers = {
            "Content-Disposition": f'attachment; filename="{variant or 0}.mp4"',
            "ETag": video.tag,
        }
        if has_already(request.headers, video.tag):
            return Response(status_code=304, headers={"Accept-Ranges": "bytes", **headers})
        try:
            part = range_asked(request.headers, video.size, video.tag)
        except NoSuchPart as error:
            raise NoSuchRange(error) from error
        return StreamingResponse(
            _pieces(video, part),
            part.status,
            headers | part.headers,
            media_type="video/mp4",
        )

    @app.delete("/v1/videos/{video_id}")
    async def delete_video(video_id: str) -> ForgottenVideo:
        await jobs.find(video_id).stop(STOPS_WITHIN)
        jobs.forget(video_id)
        return ForgottenVideo(id=video_id)


async def _fields(request: Request, form: FormData) -> VideoFields:
    given: object = {name: value for name, value in form.items() if isinstance(value, str)}
    try:
        if request.headers.get("content-type", "").startswith("application/json"):
            given = await request.json()
        found = VideoFields.model_validate(given)
    except ValidationError as error:
        raise invalid_request(error.errors()) from error
    except ValueError as error:
        raise InvalidRequest("The body is no JSON.") from error
    for name in {_FIRST, _LAST, _BOTH} & (found.model_extra or {}).keys():
        raise InvalidRequest(f"{name}: images are sent as files of a form.", param=name)
    return found


async def _with_images(form: FormData, wanted: ImageRequest) -> ImageRequest:
    first, last = [_files(form, name) for name in (_FIRST, _LAST)]
    both = _files(form, _BOTH)
    files = [*first, *last, *both]
    if len(first) > 1 or len(last) > 1 or len(both) > 2 or (both and (first or last)):
        raise InvalidRequest(
            f"A video begins with one {_FIRST} and ends with one {_LAST}; {_BOTH} are both.",
            param=_FIRST,
        )
    if last and not first:
        raise InvalidRequest(f"{_LAST} needs an {_FIRST} beside it.", param=_LAST)
    images = [await _image(file) for file in files]
    if not images or wanted.clip is None:
        return wanted
    clip = dataclasses.replace(wanted.clip, last_frame=images[1] if len(images) > 1 else None)
    return dataclasses.replace(wanted, image=images[0], clip=clip)


def _files(form: FormData, name: str) -> list[UploadFile]:
    files = [*form.getlist(name), *form.getlist(f"{name}[]")]
    uploads = [file for file in files if isinstance(file, UploadFile)]
    if len(uploads) < len(files):
        raise InvalidRequest(f"{name} must be sent as a file.", param=name)
    return uploads


async def _image(file: UploadFile) -> Image.Image:
    data = await file.read()
    return await asyncio.to_thread(_decoded, data)


def _decoded(data: bytes) -> Image.Image:
    """In its own size, which the model may keep the proportions of."""
    picture = decode_image(data, field=_FIRST)
    return fit_image(picture, picture.size)


async def _pieces(video: VideoFile, part: ByteRange) -> AsyncIterator[bytes]:
    for place in range(part.first, part.end, _PIECE):
        yield await asyncio.to_thread(video.read, place, min(_PIECE, part.end - place))


def _schema() -> dict[str, Any]:
    """The form as OpenAPI describes it: the request's fields, and the files beside them."""
    schema = VideoFields.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    schema["properties"]["loras"] = {"type": "string", "description": "A list in JSON."}
    file = {"type": "string", "format": "binary"}
    schema["properties"] |= {
        _FIRST: file,
        _LAST: file,
        _BOTH: {"type": "array", "items": file, "maxItems": 2},
    }
    return schema


_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": _schema()}},
    }
}
_CONTENT: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {"video/mp4": {}},
        "description": "The file; `variant` is its number, where several were asked for.",
    },
    206: {"content": {"video/mp4": {}}, "description": "The part that `Range` asks for."},
    304: {"description": "The client has it already, by `If-None-Match`."},
    416: {"description": "It has no such part."},
}
