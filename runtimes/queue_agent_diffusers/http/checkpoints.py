"""What was done of a job: handed out, by its id, and taken for the request that has it next.

A client that goes on with a job uploads its checkpoint under the `X-Request-Id` that its request
will have. A checkpoint that is of something else, or that was forgotten, only costs time.
"""

import asyncio
import dataclasses
from collections import OrderedDict
from typing import Any, Final

from fastapi import FastAPI, Request, Response

from queue_agent_diffusers.engine.checkpoint import MEDIA_TYPE, CheckpointUnusable, read_head
from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.errors import BodyTooLarge

DONE: Final = "X-Checkpoint-Done"
MOST_WAITING: Final = 256 * 1024 * 1024
"""Bytes of uploaded checkpoints whose requests have not come."""
_FILE: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {MEDIA_TYPE: {}},
        "description": "A file of safetensors: the predictions of the job's steps so far.",
        "headers": {
            DONE: {"schema": {"type": "integer"}, "description": "How many predictions it holds."}
        },
    },
    204: {"description": "Nothing was done that could be taken up."},
}


class UploadedCheckpoints:
    """Those that wait for their requests; the oldest are forgotten. For the event loop only."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        """`most`: bytes of all together."""
        self._most = most
        self._waiting: OrderedDict[str, bytes] = OrderedDict()

    def add(self, job_id: str, checkpoint: bytes) -> None:
        """Keep one; raises `BodyTooLarge` where it alone is more than may be kept."""
        if len(checkpoint) > self._most:
            raise BodyTooLarge(f"A checkpoint may have {self._most} bytes at most.")
        self._waiting.pop(job_id, None)
        self._waiting[job_id] = checkpoint
        while sum(map(len, self._waiting.values())) > self._most:
            self._waiting.popitem(last=False)

    def take(self, job_id: str) -> bytes | None:
        """The one for that request, once."""
        return self._waiting.pop(job_id, None)


def with_its_seed(wanted: ImageRequest, checkpoint: bytes | None) -> ImageRequest:
    """A request that names no seed, with the one that it had before."""
    if checkpoint is None:
        return wanted
    try:
        return dataclasses.replace(wanted, seed=read_head(checkpoint).seed)
    except CheckpointUnusable:
        return wanted  # as the engine will find, and say


def add_checkpoint_routes(app: FastAPI, engine: Engine, uploaded: UploadedCheckpoints) -> None:
    """Add them to the application."""

    @app.put("/v1/jobs/{job_id}/checkpoint", status_code=204, openapi_extra=_UPLOAD)
    async def upload_checkpoint(job_id: str, request: Request) -> None:
        uploaded.add(job_id, await request.body())

    @app.get("/v1/jobs/{job_id}/checkpoint", response_class=Response, responses=_FILE)
    async def job_checkpoint(job_id: str) -> Response:
        return await _handed_out(engine, job_id, stop=False)

    @app.post("/v1/jobs/{job_id}/suspend", response_class=Response, responses=_FILE)
    async def suspend_job(job_id: str) -> Response:
        return await _handed_out(engine, job_id, stop=True)


async def _handed_out(engine: Engine, job_id: str, *, stop: bool) -> Response:
    data = await asyncio.wrap_future(engine.checkpoint(job_id, stop=stop))
    if data is None:
        return Response(status_code=204)
    headers = {DONE: str(read_head(data).predictions)}
    return Response(data, media_type=MEDIA_TYPE, headers=headers)


_UPLOAD: Final = {"requestBody": {"required": True, "content": {MEDIA_TYPE: {}}}}
