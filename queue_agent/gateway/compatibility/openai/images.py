"""The routes that make images."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from queue_agent.gateway.bodies import CleanRoute
from queue_agent.gateway.compatibility.openai import streaming
from queue_agent.gateway.compatibility.openai.answers import Answer
from queue_agent.gateway.compatibility.openai.fields import (
    ImagesRequest,
    check,
    content_of,
    output_of,
)
from queue_agent.gateway.compatibility.openai.inputs import edit_content, form_schema, read_edit
from queue_agent.gateway.compatibility.openai.names import choose
from queue_agent.gateway.compatibility.openai.streaming import ImageStream, Operation
from queue_agent.gateway.compatibility.synchronous import (
    Content,
    RuntimeHeader,
    SynchronousJob,
    headers_of,
)
from queue_agent.gateway.dependencies import CallerPart, GatewayPart, OwnId, Traceparent
from queue_agent.gateway.problems import OpenAIError, documented
from queue_agent.wire.problems import Problem
from queue_agent.wire.submission import task_type_of

router = APIRouter(route_class=CleanRoute, tags=["OpenAI"], responses=documented(OpenAIError))

_STREAMED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {streaming.MEDIA_TYPE: {}}, "description": "Images, or events of them."}
}


class _Visit:
    """One request for images, of a caller and perhaps of a runtime by its header."""

    def __init__(
        self,
        gateway: GatewayPart,
        caller: CallerPart,
        own_id: OwnId,
        traceparent: Traceparent,
        runtime: RuntimeHeader = None,
    ) -> None:
        self._gateway = gateway
        self._runtime = runtime
        self._job = SynchronousJob(gateway, caller, own_id, traceparent)

    async def answer(self, operation: Operation, body: ImagesRequest, inputs: Content) -> Response:
        """The images that the body asks for, made from the inputs."""
        chosen = await choose(self._gateway, body.model, self._runtime)
        offer = await self._gateway.offers.of(chosen.runtime)
        content, warnings = content_of(body, offer)
        content |= inputs
        if chosen.checkpoint is not None:
            content["model"] = chosen.checkpoint
        record = await self._job.submit(
            task_type_of(content),
            content,
            chosen.runtime,
            context=body.context,
            previews=body.partial_images > 0,
            output=output_of(body, offer),
        )
        if body.stream:
            stream = ImageStream(self._job, operation, body, record, warnings)
            return StreamingResponse(
                stream.events(),
                media_type=streaming.MEDIA_TYPE,
                headers={**streaming.HEADERS, **headers_of(record, warnings)},
            )
        result = await self._job.finish(record)
        answer = Answer(self._gateway.service, body, result, warnings)
        told = await answer.whole(record)
        return JSONResponse(told, headers=headers_of(record, answer.warnings))

    def check(self, body: ImagesRequest) -> None:
        check(body, links=self._gateway.settings.link_seconds > 0)


VisitPart = Annotated[_Visit, Depends(_Visit)]


@router.post("/v1/images/generations", response_class=JSONResponse, responses=_STREAMED)
async def generate_images(body: ImagesRequest, visit: VisitPart) -> Response:
    """Images from a text."""
    visit.check(body)
    return await visit.answer("image_generation", body, {})


@router.post(
    "/v1/images/edits",
    response_class=JSONResponse,
    responses=_STREAMED,
    openapi_extra=form_schema(),
)
async def edit_images(request: Request, visit: VisitPart) -> Response:
    """Images from images."""
    body = await read_edit(request)
    visit.check(body)
    return await visit.answer("image_edit", body, await edit_content(body))


@router.post("/v1/images/variations")
async def vary_images(_: CallerPart) -> None:
    """Refused: nobody makes them any more."""
    raise Problem(
        404,
        "not_offered",
        "There are no variations, which OpenAI has retired: use images/edits with a prompt.",
    )
