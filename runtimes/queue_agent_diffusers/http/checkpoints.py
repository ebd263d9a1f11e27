"""What was done of a job: handed out, by its id, and taken for the request that has it next.

A client that goes on with a job uploads its checkpoint under the `X-Request-Id` that its request
will have. A checkpoint that is of something else, or that was forgotten, only costs time.
"""

import asyncio
import dataclasses
import sys
from collections import OrderedDict
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query, Request, Response

from queue_agent_diffusers.engine.checkpoint import MEDIA_TYPE, CheckpointUnusable, read_head
from queue_agent_diffusers.engine.engine import Engine
from queue_agent_diffusers.engine.requests import ImageRequest
from queue_agent_diffusers.errors import BodyTooLarge
from queue_agent_diffusers.options import MIB, Options

DONE: Final = "X-Checkpoint-Done"
_MOST_WAITING: Final = 256 * MIB
_IMAGES: Final = 4
"""Of one job, for whose checkpoint there is room whatever is kept of an image."""
STEP_PATIENCE: Final = 1.5
"""Seconds for which the end of the step under way is waited for, to have that step, too."""
Limit = Annotated[int, Query(ge=0, description="Bytes at most; of more, the first steps'.")]
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


def most_waiting(options: Options) -> int:
    """Bytes of uploaded checkpoints whose requests have not come, at most, and so of each."""
    return max(_MOST_WAITING, _IMAGES * options.checkpoint_limit * MIB)


class UploadedCheckpoints:
    """Those that wait for their requests; the oldest are forgotten. For the event loop only."""

    def __init__(self, most: int) -> None:
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
    async def job_checkpoint(job_id: str, limit: Limit = sys.maxsize) -> Response:
        return await _handed_out(engine, job_id, stop=False, limit=limit)

    @app.post("/v1/jobs/{job_id}/suspend", response_class=Response, responses=_FILE)
    async def suspend_job(job_id: str, limit: Limit = sys.maxsize) -> Response:
        return await _handed_out(engine, job_id, stop=True, limit=limit)


async def _handed_out(engine: Engine, job_id: str, *, stop: bool, limit: int) -> Response:
    handing = engine.checkpoint(job_id, stop=stop, limit=limit)
    made = asyncio.wrap_future(handing)
    await asyncio.wait({made}, timeout=STEP_PATIENCE)
    if not made.done():
        handing.now()
    data = await made
    if data is None:
        return Response(status_code=204)
    headers = {DONE: str(read_head(data).predictions)}
    return Response(data, media_type=MEDIA_TYPE, headers=headers)


_UPLOAD: Final = {"requestBody": {"required": True, "content": {MEDIA_TYPE: {}}}}
