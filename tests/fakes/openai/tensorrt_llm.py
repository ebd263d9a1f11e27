"""Routes of TensorRT-LLM: JSON, 202, errors as texts; DELETE lets the executor go on."""

import asyncio
import time
import uuid
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from fakes.openai.engine import Engine, Failed, Work
from fakes.openai.requests import Requests

Json = dict[str, Any]


def _refusal(message: str, kind: str, code: int) -> JSONResponse:
    return JSONResponse({"object": "error", "message": message, "type": kind, "code": code}, code)


class _Jobs:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.works: dict[str, Work] = {}
        self.records: dict[str, Json] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def create(self, work: Work) -> Json:
        self.works[work.id] = work
        self.records[work.id] = {
            "id": work.id,
            "object": "video",
            "created_at": work.created_at,
            "completed_at": None,
            "status": "queued",
            "model": "tiny-video",
            "prompt": work.fields["prompt"],
            "error": None,
            "output_path": None,
        }
        task = asyncio.create_task(self._follow(work))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return self.records[work.id]

    async def _follow(self, work: Work) -> None:
        record = self.records[work.id]
        self.engine.submit(work)
        try:
            await work.outcome
        except (Failed, asyncio.CancelledError) as error:
            record.update(status="failed", error=str(error), completed_at=int(time.time()))
        else:
            record.update(status="completed", completed_at=int(time.time()))
            record["output_path"] = f"/tmp/trtllm_generated/{work.id}_0.mp4"  # noqa: S108


def _missing(video_id: str) -> JSONResponse:
    return _refusal(f"Video {video_id} not found", "NotFoundError", 404)


def router(engine: Engine, requests: Requests) -> APIRouter:
    routes, jobs = APIRouter(prefix="/v1/videos"), _Jobs(engine)

    @routes.post("")
    async def create(request: Request) -> Response:
        fields, files = await requests.json(request)
        if "prompt" not in fields:
            return _refusal("'prompt' is required", "BadRequestError", 400)
        work = Work(f"video_{uuid.uuid4().hex}", "video", fields, files)
        return JSONResponse(jobs.create(work), 202)

    @routes.get("/{video_id}", response_model=None)
    async def retrieve(video_id: str) -> Json | JSONResponse:
        return jobs.records.get(video_id) or _missing(video_id)

    @routes.get("/{video_id}/content")
    async def content(video_id: str) -> Response:
        record = jobs.records.get(video_id)
        if record is None:
            return _missing(video_id)
        if record["status"] != "completed":
            words = f"Video {video_id} is not ready (status: {record['status']})"
            return _refusal(words, "BadRequestError", 400)
        return Response(jobs.works[video_id].outcome.result(), media_type="video/mp4")

    @routes.delete("/{video_id}", response_model=None)
    async def delete(video_id: str) -> Json | JSONResponse:
        if jobs.records.pop(video_id, None) is None:
            return _missing(video_id)
        return {"deleted": True}

    return routes
