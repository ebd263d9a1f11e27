"""Routes of vLLM-Omni: records in memory, an abort by DELETE, failures with their status."""

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from fakes.openai.engine import Engine, Failed, Work
from fakes.openai.requests import Requests

Json = dict[str, Any]
ABORT_TIMEOUT = 2.0


class _Jobs:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.works: dict[str, Work] = {}
        self.records: dict[str, Json] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def create(self, work: Work) -> Json:
        self.works[work.id] = work
        self.records[work.id] = {
            "id": work.id,
            "object": "video",
            "model": work.fields.get("model") or "tiny-video",
            "prompt": work.fields["prompt"],
            "status": "queued",
            "progress": 0,
            "seconds": work.fields.get("seconds") or "4",
            "size": work.fields.get("size"),
            "quality": "default",
            "created_at": work.created_at,
            "completed_at": None,
            "error": None,
            "media_type": "video/mp4",
            "file_name": None,
            "fps": work.rate,
            "num_frames": work.frames,
            "stage_durations": {},
            "peak_memory_mb": 0.0,
        }
        self.tasks[work.id] = asyncio.create_task(self._follow(work))
        return self.records[work.id]

    def record(self, video_id: str) -> Json:
        record = self.records.get(video_id)
        if record is None:
            raise HTTPException(404, "Video not found")
        if record["status"] == "queued" and self.works[video_id].started:
            record["status"] = "in_progress"
        return record

    async def _follow(self, work: Work) -> None:
        record = self.records[work.id]
        self.engine.submit(work)
        try:
            await asyncio.shield(work.outcome)
        except Failed as error:
            code = error.status or 500
            record.update(status="failed", error={"code": code, "message": str(error)})
            record["completed_at"] = int(time.time())
        except asyncio.CancelledError:
            self.records.pop(work.id, None)
        else:
            record.update(status="completed", progress=100, file_name=f"{work.id}.mp4")
            record["completed_at"] = int(time.time())


def _one_api_server(engine: Engine) -> Callable[[], None]:
    def check() -> None:
        if engine.behaviour.api_servers > 1:
            raise HTTPException(
                409,
                "Asynchronous video jobs is not supported with --api-server-count > 1 because "
                "the operation uses process-local frontend state",
            )

    return check


def router(engine: Engine, requests: Requests) -> APIRouter:
    jobs = _Jobs(engine)
    routes = APIRouter(prefix="/v1/videos", dependencies=[Depends(_one_api_server(engine))])
    _add_create(routes, jobs, requests)
    _add_others(routes, jobs)
    return routes


def _add_create(routes: APIRouter, jobs: _Jobs, requests: Requests) -> None:
    engine = jobs.engine

    @routes.post("")
    async def create_video(
        request: Request,
        prompt: Annotated[str, Form()],
        seconds: Annotated[str | None, Form(pattern=r"^[1-9]\d*$")] = None,
        size: Annotated[str | None, Form(pattern=r"^\d+x\d+$")] = None,
        fps: Annotated[float | None, Form(ge=1)] = None,
        short_edge: Annotated[int | None, Form(ge=1)] = None,
        model: Annotated[str | None, Form()] = None,
    ) -> Json:
        del prompt, seconds, size, fps, short_edge
        fields, files = await requests.form(request)
        if model is not None and model != "tiny-video":
            raise HTTPException(
                400,
                f"Model mismatch: request specifies '{model}' but server is running 'tiny-video'.",
            )
        if engine.held >= engine.behaviour.most_waiting:  # as a proxy in front says
            raise HTTPException(429, "too many requests", {"Retry-After": "1"})
        return jobs.create(Work(f"video_gen_{uuid.uuid4().hex}", "video", fields, files))


def _add_others(routes: APIRouter, jobs: _Jobs) -> None:
    @routes.get("/{video_id}", response_model=None)
    async def retrieve_video(video_id: str) -> Json | JSONResponse:
        record = jobs.record(video_id)
        if record["status"] == "failed":
            return JSONResponse(record, record["error"]["code"])
        return record

    @routes.delete("/{video_id}")
    async def delete_video(video_id: str) -> Json:
        record = jobs.record(video_id)
        if record["status"] in {"queued", "in_progress"}:
            jobs.engine.abort(jobs.works[video_id])
            with suppress(TimeoutError):  # as long as the server waits for its engine's word
                async with asyncio.timeout(ABORT_TIMEOUT):
                    await jobs.works[video_id].over.wait()
            jobs.tasks[video_id].cancel()
        jobs.records.pop(video_id, None)
        return {"id": video_id, "deleted": True, "object": "video.deleted"}

    @routes.get("/{video_id}/content")
    async def download_video(video_id: str) -> Response:
        record = jobs.record(video_id)
        if record["status"] == "failed":
            raise HTTPException(422, "Video generation failed. Check job status for error details.")
        if not record["file_name"]:
            raise HTTPException(404, "Generation is still in-progress")
        return Response(
            jobs.works[video_id].outcome.result(),
            media_type="video/mp4",
            headers={"content-disposition": f'attachment; filename="{record["file_name"]}"'},
        )
