"""Compatibility routes: those of other image servers, behind which a job goes the usual way.

A client of the Web UI (https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/API) or of
the OpenAI Images API (https://platform.openai.com/docs/api-reference/images) needs only another
base URL. The connection waits for the job; what takes too long is answered by 504 with the
job's id, by which the result can be fetched later.
"""

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from queue_agent.gateway.bodies import CleanRoute
from queue_agent.gateway.dependencies import (
    CallerPart,
    Gateway,
    GatewayPart,
    OwnId,
    Traceparent,
)
from queue_agent.gateway.keys import Caller
from queue_agent.gateway.problems import OpenAIError, WebUIError, documented
from queue_agent.gateway.records import Record
from queue_agent.gateway.schemas import JobView
from queue_agent.tasks import together
from queue_agent.wire.notification import Image
from queue_agent.wire.problems import Problem
from queue_agent.wire.result import Result
from queue_agent.wire.submission import task_type_of

Content = dict[str, JsonValue]

_RENAMED: Final = {
    "num_inference_steps": "steps",
    "guidance_scale": "cfg_scale",
    "n": "batch_size",
}
_NOT_FOR_THE_RUNTIME: Final = frozenset({"size", "model", "response_format", "user", "stream"})

router = APIRouter(route_class=CleanRoute)
RuntimeHeader = Annotated[str | None, Header(alias="X-Runtime", description="Else the default.")]


class ImagesRequest(BaseModel):
    """The Images dialect; fields that are not named here go to the runtime as they are."""

    model_config = ConfigDict(extra="allow")

    prompt: str
    model: str | None = Field(default=None, description="A runtime's name, or a checkpoint's.")
    n: int = Field(default=1, ge=1, le=16)
    size: str | None = Field(default=None, pattern=r"^(auto|[1-9]\d{0,4}x[1-9]\d{0,4})$")
    response_format: Literal["b64_json", "url"] = "b64_json"


@router.post("/sdapi/v1/txt2img", tags=["Web UI"], responses=documented(WebUIError))
async def txt2img(
    body: Content,
    gateway: GatewayPart,
    caller: CallerPart,
    own_id: OwnId,
    traceparent: Traceparent,
    runtime: RuntimeHeader = None,
) -> JSONResponse:
    """Images from a text, answered as the Web UI does."""
    return await _webui(
        _SynchronousJob(gateway, caller, own_id, traceparent), "text-to-image", body, runtime
    )


@router.post("/sdapi/v1/img2img", tags=["Web UI"], responses=documented(WebUIError))
async def img2img(
    body: Content,
    gateway: GatewayPart,
    caller: CallerPart,
    own_id: OwnId,
    traceparent: Traceparent,
    runtime: RuntimeHeader = None,
) -> JSONResponse:
    """Images from images, answered as the Web UI does."""
    return await _webui(
        _SynchronousJob(gateway, caller, own_id, traceparent), "image-to-image", body, runtime
    )


@router.post("/v1/images/generations", tags=["OpenAI"], responses=documented(OpenAIError))
async def generate_images(
    body: ImagesRequest,
    gateway: GatewayPart,
    caller: CallerPart,
    own_id: OwnId,
    traceparent: Traceparent,
    runtime: RuntimeHeader = None,
) -> JSONResponse:
    """Images from a text, answered as the Images API does."""
    content, named = _portable(body, gateway)
    visit = _SynchronousJob(gateway, caller, own_id, traceparent)
    record, result = await visit.make(task_type_of(content), content, runtime or named)
    outputs = [image for image in result.images if image.role == "output"]
    data = await together(_item(gateway, image, body.response_format) for image in outputs)
    created = round(record.submitted_at.timestamp())
    return JSONResponse({"created": created, "data": data}, headers={"X-Job-Id": record.id})


class _SynchronousJob:
    """One request at a door."""

    def __init__(
        self, gateway: Gateway, caller: Caller, own_id: str | None, traceparent: str | None
    ) -> None:
        self.gateway = gateway
        self._caller = caller
        self._id = own_id
        self._traceparent = traceparent

    async def make(
        self, task_type: str, content: Content, runtime: str | None
    ) -> tuple[Record, Result]:
        """Publish the job and wait for its images.

        Raises:
            Problem: there are none.
        """
        service = self.gateway.service
        metadata: JsonValue = {"id": self._id, "tasktype": task_type, "runtime": runtime}
        job = await asyncio.to_thread(
            service.job, self._caller, {"metadata": metadata, "content": content}
        )
        record = await service.submit(self._caller, job, traceparent=self._traceparent)
        view = await service.wait(record, seconds=self.gateway.settings.sync_timeout)
        result = await service.result(record)
        if not view.finished:
            raise _too_late(record, self.gateway.settings.sync_timeout)
        if result is None or not result.result:
            raise _ended_without_images(view, result)
        return record, result


async def _webui(
    visit: _SynchronousJob, task_type: str, content: Content, runtime: str | None
) -> JSONResponse:
    record, result = await visit.make(task_type, content, runtime)
    files = await together(visit.gateway.service.download(image) for image in result.images)
    answer: dict[str, JsonValue] = {
        "images": [base64.b64encode(data).decode() for data in files],
        "parameters": result.response.get("parameters", record.content),
        "info": json.dumps(_info(result, record.content)),
    }
    return JSONResponse(answer, headers={"X-Job-Id": record.id})


def _info(result: Result, content: Mapping[str, JsonValue]) -> JsonValue:
    """The Web UI's own words on what it made, or the like of another runtime's work."""
    said = result.response.get("info")
    if isinstance(said, dict) and said:
        return said
    outputs = [image for image in result.images if image.role == "output"]
    seeds: list[JsonValue] = [image.seed if image.seed is not None else -1 for image in outputs]
    prompt = content.get("prompt", "")
    return {
        "prompt": prompt,
        "all_prompts": [prompt] * len(outputs),
        "negative_prompt": content.get("negative_prompt", ""),
        "seed": seeds[0] if seeds else -1,
        "all_seeds": seeds,
        "width": outputs[0].width if outputs else None,
        "height": outputs[0].height if outputs else None,
        "infotexts": [image.info or "" for image in outputs],
        "index_of_first_image": sum(image.role == "grid" for image in result.images),
    }


def _portable(body: ImagesRequest, gateway: Gateway) -> tuple[Content, str | None]:
    """The portable content that the dialect's fields ask for, and the runtime named by them."""
    fields: Content = body.model_dump(mode="json", exclude_none=True)
    content = {
        _RENAMED.get(name, name): value
        for name, value in fields.items()
        if name not in _NOT_FOR_THE_RUNTIME
    }
    if body.size and body.size != "auto":
        width, _, height = body.size.partition("x")
        content |= {"width": int(width), "height": int(height)}
    if body.model in gateway.settings.queues:
        return content, body.model
    if body.model:
        content["model"] = body.model
    return content, None


async def _item(gateway: Gateway, image: Image, response_format: str) -> dict[str, JsonValue]:
    if response_format == "url":
        link = await gateway.service.presigned(image)
        if link is None:
            raise Problem(422, "no_links", "This gateway gives no links; ask for b64_json.")
        return {"url": link, "revised_prompt": None}
    data = await gateway.service.download(image)
    return {"b64_json": base64.b64encode(data).decode(), "revised_prompt": None}


def _too_late(record: Record, seconds: float) -> Problem:
    return Problem(
        504,
        "timeout",
        f"The job {record.id} was not finished within {seconds:g} s; it goes on.",
        headers={"Location": f"/v1/jobs/{record.id}", "X-Job-Id": record.id},
        job_id=record.id,
    )


def _ended_without_images(view: JobView, result: Result | None) -> Problem:
    error = view.error
    status = 503 if error is not None and error.retryable else _refusal(result)
    if view.status in {"cancelled", "expired"}:
        status = 410
    code = error.type if error is not None else view.status
    detail = error.message if error is not None else f"The job ended as {view.status}."
    return Problem(status, code, detail, headers={"X-Job-Id": view.id}, job_id=view.id)


def _refusal(result: Result | None) -> int:
    """The status by which the runtime refused the job, where it was one of refusal."""
    said = result.response.get("status") if result is not None else None
    return said if isinstance(said, int) and 400 <= said < 500 else 422
