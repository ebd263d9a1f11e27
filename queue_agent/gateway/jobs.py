"""The routes for jobs: asked for and answered later."""

import asyncio
import hashlib
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Query, Request, Response

from queue_agent.gateway import files
from queue_agent.gateway.bodies import CleanRoute
from queue_agent.gateway.dependencies import (
    CallerPart,
    GatewayPart,
    JobBody,
    OwnId,
    Traceparent,
)
from queue_agent.gateway.keys import Caller
from queue_agent.gateway.problems import documented
from queue_agent.gateway.records import Record
from queue_agent.gateway.schemas import (
    REQUEST_BODY,
    JobPage,
    JobRequest,
    JobStatus,
    JobView,
    RuntimeList,
)
from queue_agent.gateway.search import Wanted
from queue_agent.media.previews import PREVIEW_MEDIA_TYPE
from queue_agent.wire.estimate import JobEstimate
from queue_agent.wire.problems import Problem, ProblemDetails
from queue_agent.wire.submission import Accepted

router = APIRouter(route_class=CleanRoute, responses=documented(ProblemDetails), tags=["jobs"])


_OF_FILES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {"image/*": {}, "application/octet-stream": {}},
        "description": "The file; shown by browsers if it is a raster image, video or audio.",
    },
    206: {
        "content": {"image/*": {}, "application/octet-stream": {}},
        "description": "The part of it that `Range` asks for.",
    },
    304: {"description": "It is still the one that `If-None-Match` names."},
    410: {"model": ProblemDetails, "description": "It is no longer kept."},
    416: {"model": ProblemDetails, "description": "It has no such part."},
}


@router.post("/v1/jobs", status_code=202, openapi_extra=REQUEST_BODY)
async def submit_job(
    body: JobBody,
    response: Response,
    gateway: GatewayPart,
    caller: CallerPart,
    own_id: OwnId,
    traceparent: Traceparent,
) -> JobView:
    """Ask for images; the answer says where to look for them."""
    job = await asyncio.to_thread(gateway.service.job, caller, body, own_id=own_id)
    record = await gateway.service.submit(caller, job, traceparent=traceparent)
    response.headers["Location"] = f"/v1/jobs/{record.id}"
    return await gateway.service.view(record)


@router.post("/v1/estimate", openapi_extra=REQUEST_BODY)
async def estimate_job(body: JobBody, gateway: GatewayPart, caller: CallerPart) -> JobEstimate:
    """When a job would start and end, and what it would cost; nothing is submitted."""
    job = await asyncio.to_thread(gateway.service.job, caller, body)
    return await gateway.service.estimate(job)


@router.post("/task", tags=["guidance"], openapi_extra=REQUEST_BODY)
async def submit_task(
    body: JobBody,
    gateway: GatewayPart,
    caller: CallerPart,
    own_id: OwnId,
    traceparent: Traceparent,
) -> Accepted:
    """The same, answered as AWS's guidance answers."""
    job = await asyncio.to_thread(gateway.service.job, caller, body, own_id=own_id)
    await gateway.service.submit(caller, job, traceparent=traceparent)
    return Accepted.of(job, gateway.bucket.name)


@router.get("/v1/jobs")
async def list_jobs(
    gateway: GatewayPart,
    caller: CallerPart,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: str | None = None,
    status: Annotated[tuple[JobStatus, ...], Query(description="Only of these.")] = (),
    runtime: Annotated[str | None, Query(description="Only of this one.")] = None,
    q: Annotated[
        str, Query(max_length=200, description="Words of the id or of texts in the content.")
    ] = "",
) -> JobPage:
    """The caller's jobs, the newest first.

    Where some are looked for, a page may hold fewer than `limit`, or none, though there is a
    `next` one: a request goes through so many jobs and no more.
    """
    wanted = Wanted.of(status, runtime, q)
    return await gateway.service.page(caller, wanted, cursor=cursor, limit=limit)


@router.get("/v1/jobs/{job_id}")
async def get_job(job_id: str, gateway: GatewayPart, caller: CallerPart) -> JobView:
    """How a job stands."""
    return await gateway.service.view(await _find(gateway, caller, job_id))


@router.get(
    "/v1/jobs/{job_id}/request",
    response_model=JobRequest,
    responses={410: {"model": ProblemDetails, "description": "It is no longer kept."}},
)
async def get_request(job_id: str, gateway: GatewayPart, caller: CallerPart) -> Response:
    """What a job asked for, whole: sent to `/v1/jobs` it is another job."""
    data = await gateway.service.request(await _find(gateway, caller, job_id))
    return Response(data, media_type="application/json")


@router.delete("/v1/jobs/{job_id}", status_code=202)
async def cancel_job(job_id: str, gateway: GatewayPart, caller: CallerPart) -> JobView:
    """Ask for a job to be given up. One that is finished stays as it is."""
    return await gateway.service.cancel(await _find(gateway, caller, job_id))


@router.post("/v1/jobs/{job_id}/wait")
async def wait_for_job(
    job_id: str,
    gateway: GatewayPart,
    caller: CallerPart,
    patience: Annotated[float, Query(alias="timeout", ge=0, le=60, description="Seconds.")] = 30,
) -> JobView:
    """How a job stands at its end, or after `timeout` seconds."""
    return await gateway.service.wait(await _find(gateway, caller, job_id), seconds=patience)


@router.get(
    "/v1/jobs/{job_id}/images/{number}",
    response_class=Response,
    responses=_OF_FILES,
)
async def get_image(
    job_id: str, number: int, request: Request, gateway: GatewayPart, caller: CallerPart
) -> Response:
    """One of the files a job made, counted from 1."""
    found = await gateway.service.file(await _find(gateway, caller, job_id), number)
    return await files.answer(gateway.bucket, found, request.headers)


@router.get(
    "/v1/jobs/{job_id}/images/{number}/{role}",
    response_class=Response,
    responses=_OF_FILES,
)
async def get_variant(
    job_id: str,
    number: int,
    role: Literal["original", "thumbnail", "animated_thumbnail"],
    request: Request,
    gateway: GatewayPart,
    caller: CallerPart,
) -> Response:
    """Another file of the same picture, if it is kept: `thumbnail`, a small WebP, or `original`."""
    record = await _find(gateway, caller, job_id)
    found = await gateway.service.variant(record, number, role)
    return await files.answer(gateway.bucket, found, request.headers)


@router.get(
    "/v1/jobs/{job_id}/preview",
    response_class=Response,
    responses={
        200: {"content": {PREVIEW_MEDIA_TYPE: {}}, "description": "Small and rough."},
        304: {"description": "It is still the one that `If-None-Match` names."},
    },
)
async def get_preview(
    job_id: str,
    gateway: GatewayPart,
    caller: CallerPart,
    if_none_match: Annotated[str | None, Header()] = None,
    number: Annotated[int | None, Query(description="For caches; not looked at.")] = None,
) -> Response:
    """The latest image of a job that is worked on, if it asked for `previews`; else 404."""
    del number
    image = await gateway.service.preview(await _find(gateway, caller, job_id))
    if image is None:
        raise Problem(404, "no_preview", "There is no preview of the job, or none any more.")
    tag = f'"{hashlib.sha256(image).hexdigest()[:32]}"'
    headers = {
        "Cache-Control": "private, no-cache",
        "ETag": tag,
        "Content-Security-Policy": "sandbox",
    }
    if if_none_match == tag:
        return Response(status_code=304, headers=headers)
    return Response(image, media_type=PREVIEW_MEDIA_TYPE, headers=headers)


@router.get("/v1/runtimes", tags=["runtimes"])
async def list_runtimes(gateway: GatewayPart, _caller: CallerPart) -> RuntimeList:
    """The runtimes on offer, with their queues and their throughput of late."""
    return RuntimeList(
        runtimes=await gateway.statistics.states(), body_limit=gateway.settings.body_limit
    )


async def _find(gateway: GatewayPart, caller: Caller, job_id: str) -> Record:
    return await gateway.service.find(caller, job_id)
