"""Routes of SGLang-Diffusion: nothing can be aborted, DELETE only forgets the record."""

import asyncio
import base64
import time
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, HTTPException, Request, Response, UploadFile

from fakes.openai.engine import Engine, Failed, Work
from fakes.openai.requests import Requests

Json = dict[str, Any]
_MEDIA_TYPES = {"mp4": "video/mp4", "glb": "model/gltf-binary"}


class _Jobs:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.works: dict[str, Work] = {}
        self.records: dict[str, Json] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def create(self, work: Work, **more: Any) -> Json:
        self.works[work.id] = work
        self.records[work.id] = {
            "id": work.id,
            "object": work.kind,
            "model": work.fields.get("model") or "tiny-video",
            "status": "queued",
            "progress": 0,
            "created_at": work.created_at,
            "url": None,
            "completed_at": None,
            "error": None,
            **more,
        }
        task = asyncio.create_task(self._follow(work))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return self.records[work.id]

    def record(self, job_id: str, what: str) -> Json:
        record = self.records.get(job_id)
        if record is None:
            raise HTTPException(404, f"{what} not found")
        work = self.works[job_id]
        under_way = record["status"] in {"queued", "in_progress"}
        if work.kind == "video" and work.steps_done and under_way:
            record["status"] = "in_progress"
            record["progress"] = min(99, 100 * work.steps_done // work.steps)
        return record

    async def _follow(self, work: Work) -> None:
        record = self.records[work.id]
        self.engine.submit(work)
        try:
            await work.outcome
        except Failed as error:
            record.update(status="failed", error={"message": str(error)}, file_path=None)
        except asyncio.CancelledError:
            record.update(status="failed", error={"message": "cancelled"}, file_path=None)
        else:
            record.update(status="completed", progress=100, completed_at=int(time.time()))


def router(engine: Engine, requests: Requests) -> APIRouter:
    routes, jobs = APIRouter(prefix="/v1"), _Jobs(engine)

    @routes.post("/videos")
    async def create_video(
        request: Request,
        prompt: Annotated[str | None, Form()] = None,
        seconds: Annotated[int | None, Form()] = None,
        fps: Annotated[int | None, Form()] = None,
        num_frames: Annotated[int | None, Form()] = None,
    ) -> Json:
        del seconds, fps, num_frames
        if not prompt:
            raise HTTPException(400, "prompt is required")
        fields, files = await requests.form(request)
        work = Work(str(uuid.uuid4()), "video", fields, files)
        return jobs.create(
            work,
            size=f"{work.size[0]}x{work.size[1]}",
            seconds=str(round(work.frames / work.rate)),
            quality="standard",
            file_path=f"/sgl/outputs/{work.id}.mp4",
        )

    @routes.post("/meshes")
    async def create_mesh(
        request: Request, image: Annotated[list[UploadFile] | None, File()] = None
    ) -> Json:
        if not image:
            raise HTTPException(422, "Field 'image' or 'url' is required for mesh generation")
        fields, files = await requests.form(request)
        work = Work(str(uuid.uuid4()), "mesh", fields, files)
        return jobs.create(work, format="glb", file_path=f"/sgl/outputs/{work.id}.glb")

    _add_record_routes(routes, jobs, "videos", "Video", "mp4")
    _add_record_routes(routes, jobs, "meshes", "Mesh", "glb")
    _add_image_routes(routes, engine, requests)
    return routes


def _add_record_routes(
    routes: APIRouter, jobs: _Jobs, kind: str, what: str, extension: str
) -> None:
    @routes.get(f"/{kind}/{{job_id}}")
    async def retrieve(job_id: str) -> Json:
        return jobs.record(job_id, what)

    @routes.delete(f"/{kind}/{{job_id}}")
    async def delete(job_id: str) -> Json:
        record = jobs.record(job_id, what)
        jobs.records.pop(job_id)
        return {**record, "status": "deleted"}

    @routes.get(f"/{kind}/{{job_id}}/content")
    async def content(job_id: str) -> Response:
        if jobs.record(job_id, what)["status"] != "completed":
            raise HTTPException(404, "Generation is still in-progress")
        return Response(
            jobs.works[job_id].outcome.result(),
            media_type=_MEDIA_TYPES[extension],
            headers={"content-disposition": f'attachment; filename="{job_id}.{extension}"'},
        )


def _add_image_routes(routes: APIRouter, engine: Engine, requests: Requests) -> None:
    async def answer(fields: Json, files: list[tuple[str, bytes]]) -> Json:
        work = engine.submit(Work(str(uuid.uuid4()), "image", fields, files))
        try:  # whoever asked may leave: the work goes on
            made = await asyncio.shield(work.outcome)
        except Failed as error:
            raise HTTPException(500, str(error)) from error
        path = f"/sgl/outputs/{work.id}.png"
        if fields.get("response_format", "url") == "url":
            data = {"url": f"/v1/images/{work.id}/content", "file_path": path}
        else:
            data = {"b64_json": base64.b64encode(made).decode(), "file_path": path}
        return {"id": work.id, "created": work.created_at, "data": [data]}

    @routes.post("/images/generations")
    async def generate(request: Request) -> Json:
        fields = await request.json()
        requests.note(fields, [])
        return await answer(fields, [])

    @routes.post("/images/edits")
    async def edit(request: Request) -> Json:
        return await answer(*await requests.form(request))
