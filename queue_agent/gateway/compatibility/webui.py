"""The Web UI's routes: https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/API."""

import base64
import json
from collections.abc import Mapping

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import JsonValue

from queue_agent.gateway.bodies import CleanRoute
from queue_agent.gateway.compatibility.synchronous import (
    Content,
    RuntimeHeader,
    SynchronousJob,
    headers_of,
)
from queue_agent.gateway.dependencies import CallerPart, GatewayPart, OwnId, Traceparent
from queue_agent.gateway.problems import WebUIError, documented
from queue_agent.tasks import together
from queue_agent.wire.result import Result

router = APIRouter(route_class=CleanRoute)


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
        SynchronousJob(gateway, caller, own_id, traceparent), "text-to-image", body, runtime
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
        SynchronousJob(gateway, caller, own_id, traceparent), "image-to-image", body, runtime
    )


async def _webui(
    visit: SynchronousJob, task_type: str, content: Content, runtime: str | None
) -> JSONResponse:
    record, result = await visit.make(task_type, content, runtime)
    files = await together(visit.gateway.service.download(image) for image in result.images)
    answer: dict[str, JsonValue] = {
        "images": [base64.b64encode(data).decode() for data in files],
        "parameters": result.response.get("parameters", record.content),
        "info": json.dumps(_info(result, record.content)),
    }
    return JSONResponse(answer, headers=headers_of(record, result.warnings))


def _info(result: Result, content: Mapping[str, JsonValue]) -> JsonValue:
    """The Web UI's own words on what it made, or the like of another runtime's work."""
    warnings: Content = {"warnings": [*result.warnings]} if result.warnings else {}
    said = result.response.get("info")
    if isinstance(said, dict) and said:
        return {**said, **warnings}
    outputs = [image for image in result.images if image.role == "output"]
    seeds: list[JsonValue] = [image.seed if image.seed is not None else -1 for image in outputs]
    prompt = content.get("prompt", "")
    return warnings | {
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
