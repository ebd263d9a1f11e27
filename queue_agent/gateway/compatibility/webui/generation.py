"""Images made or enlarged, with the connection open until they are there."""

import base64
import json
from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import Depends
from fastapi.responses import JSONResponse
from pydantic import JsonValue

from queue_agent.gateway.compatibility.synchronous import (
    Content,
    SynchronousJob,
    headers_of,
)
from queue_agent.gateway.compatibility.webui.answers import info_of, parameters_of
from queue_agent.gateway.compatibility.webui.options import CHECKPOINT, CallerOptions
from queue_agent.gateway.compatibility.webui.routing import RuntimePart, new_router
from queue_agent.gateway.dependencies import CallerPart, GatewayPart, OwnId, Traceparent
from queue_agent.gateway.records import Record
from queue_agent.tasks import together
from queue_agent.wire.output import OutputOptions, webui_encoding
from queue_agent.wire.portable import model_of
from queue_agent.wire.problems import Problem
from queue_agent.wire.result import Result

_NO_IMAGE: Final = "Invalid encoded image"
_WHERE_IT_LEADS: Final = "send_images"
"""Says what to answer, and nothing of the job."""

router = new_router()


class _Request:
    """One request for images of one runtime, by one caller."""

    def __init__(
        self,
        gateway: GatewayPart,
        caller: CallerPart,
        runtime: RuntimePart,
        own_id: OwnId,
        traceparent: Traceparent,
    ) -> None:
        self.gateway = gateway
        self.caller = caller
        self.runtime = runtime
        self._job = SynchronousJob(gateway, caller, own_id, traceparent)

    async def make(self, task_type: str, content: Content) -> tuple[Record, Result, list[str]]:
        """The job, its result, and its files in base64."""
        previews = self.gateway.settings.previews
        content, output = await self._encoding(content)
        record, result = await self._job.make(
            task_type, content, self.runtime, previews=previews, output=output
        )
        files = await together(self.gateway.service.download(image) for image in result.made)
        return record, result, [base64.b64encode(data).decode() for data in files]

    async def _encoding(self, content: Content) -> tuple[Content, OutputOptions | None]:
        """The content without how its images are to be encoded, where an agent does that."""
        overrides = content.get("override_settings")
        if not isinstance(overrides, dict):
            return content, None
        encoding = webui_encoding(overrides)
        if encoding.options is None:
            return content, None
        if not (await self.gateway.offers.of(self.runtime)).output_formats:
            return content, None
        rest = {name: value for name, value in overrides.items() if name not in encoding.names}
        return {**content, "override_settings": rest}, encoding.options

    async def with_checkpoint(self, content: Content) -> Content:
        """The content, with the checkpoint under one name: its own, else the caller's."""
        overrides = content.get("override_settings")
        if isinstance(overrides, dict) and CHECKPOINT in overrides:
            named = content.get("model") or overrides[CHECKPOINT]
            others = {name: value for name, value in overrides.items() if name != CHECKPOINT}
            content = {**content, "model": named, "override_settings": others}
        if model_of(content) is None:
            options = await CallerOptions.of(self.gateway.bucket, self.caller, self.runtime)
            content = {**content, "model": options.sd_model_checkpoint}
        return _without_nulls(content)


RequestPart = Annotated[_Request, Depends(_Request)]


@router.post("/txt2img")
async def txt2img(body: Content, request: RequestPart) -> JSONResponse:
    """Images from a text."""
    return await _generate(request, "text-to-image", body)


@router.post("/img2img")
async def img2img(body: Content, request: RequestPart) -> JSONResponse:
    """Images from images."""
    if not body.get("init_images"):
        raise Problem(404, "HTTPException", "Init image not found")
    return await _generate(request, "image-to-image", body)


@router.post("/extra-single-image")
async def extra_single_image(body: Content, request: RequestPart) -> JSONResponse:
    """An image enlarged or mended."""
    if not body.get("image"):
        raise Problem(422, "HTTPException", _NO_IMAGE)
    record, result, files = await request.make("extra-single-image", _without_nulls(body))
    if not files:
        raise Problem(422, "no_image", "The runtime made no image.", job_id=record.id)
    answer: Content = {"html_info": _html_info(result), "image": files[0]}
    return _told(answer, record, result)


@router.post("/extra-batch-images")
async def extra_batch_images(body: Content, request: RequestPart) -> JSONResponse:
    """Several, in their order."""
    images = body.get("imageList")
    if images == []:
        return JSONResponse({"html_info": "<p></p>", "images": []})
    if not isinstance(images, list):
        raise Problem(422, "HTTPException", "imageList: must be a list of images.")
    record, result, files = await request.make("extra-batch-images", _without_nulls(body))
    answer: Content = {"html_info": _html_info(result), "images": [*files]}
    return _told(answer, record, result)


async def _generate(request: _Request, task_type: str, body: Content) -> JSONResponse:
    content = {name: value for name, value in body.items() if name != _WHERE_IT_LEADS}
    record, result, files = await request.make(task_type, await request.with_checkpoint(content))
    answer: Content = {
        "images": [*files] if body.get(_WHERE_IT_LEADS) is not False else [],
        "parameters": parameters_of(result, record),
        "info": json.dumps(info_of(result, record)),
    }
    return _told(answer, record, result)


def _told(answer: Content, record: Record, result: Result) -> JSONResponse:
    if result.warnings:
        answer["warnings"] = [*result.warnings]
    return JSONResponse(answer, headers=headers_of(record, result.warnings))


def _without_nulls(content: Mapping[str, JsonValue]) -> Content:
    """A field that is null counts as absent."""
    return {name: value for name, value in content.items() if value is not None}


def _html_info(result: Result) -> str:
    said = result.response.get("html_info")
    return said if isinstance(said, str) else "<p></p>"
