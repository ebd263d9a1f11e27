"""The OpenAI Images API's routes: https://platform.openai.com/docs/api-reference/images."""

import base64
from typing import Final, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from queue_agent.gateway.bodies import CleanRoute
from queue_agent.gateway.compatibility.synchronous import (
    Content,
    RuntimeHeader,
    SynchronousJob,
    headers_of,
)
from queue_agent.gateway.dependencies import (
    CallerPart,
    Gateway,
    GatewayPart,
    OwnId,
    Traceparent,
)
from queue_agent.gateway.problems import OpenAIError, documented
from queue_agent.tasks import together
from queue_agent.wire.notification import Image
from queue_agent.wire.problems import Problem
from queue_agent.wire.submission import task_type_of

router = APIRouter(route_class=CleanRoute)

_RENAMED: Final = {
    "num_inference_steps": "steps",
    "guidance_scale": "cfg_scale",
    "n": "batch_size",
}
_NOT_FOR_THE_RUNTIME: Final = frozenset({"size", "model", "response_format", "user", "stream"})


class ImagesRequest(BaseModel):
    """The Images dialect; fields that are not named here go to the runtime as they are."""

    model_config = ConfigDict(extra="allow")

    prompt: str
    model: str | None = Field(default=None, description="A runtime's name, or a checkpoint's.")
    n: int = Field(default=1, ge=1, le=16)
    size: str | None = Field(default=None, pattern=r"^(auto|[1-9]\d{0,4}x[1-9]\d{0,4})$")
    response_format: Literal["b64_json", "url"] = "b64_json"


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
    visit = SynchronousJob(gateway, caller, own_id, traceparent)
    record, result = await visit.make(task_type_of(content), content, runtime or named)
    outputs = [image for image in result.images if image.role == "output"]
    data = await together(_item(gateway, image, body.response_format) for image in outputs)
    created = round(record.submitted_at.timestamp())
    answer: Content = {"created": created, "data": [*data]}
    if result.warnings:
        answer["warnings"] = [*result.warnings]
    return JSONResponse(answer, headers=headers_of(record, result.warnings))


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
