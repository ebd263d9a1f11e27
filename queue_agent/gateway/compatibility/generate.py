"""The routes that guides to serving teach: `/generate`, a job to poll or to listen to, its image.

Programs written for such a worker, of FastAPI and Redis mostly, need only another address. Errors
are told as FastAPI tells them.
"""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Request, Response, WebSocket
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_json

from queue_agent.gateway.bodies import CleanRoute
from queue_agent.gateway.compatibility.synchronous import (
    RuntimeHeader,
    SynchronousJob,
    headers_of,
)
from queue_agent.gateway.dependencies import CallerPart, GatewayPart, OwnId, Traceparent
from queue_agent.gateway.events import relay
from queue_agent.gateway.problems import FrameworkError, documented
from queue_agent.gateway.schemas import JobStatus, JobView
from queue_agent.wire.portable import MAX_SEED, Side

router = APIRouter(route_class=CleanRoute, tags=["guides"], responses=documented(FrameworkError))

WorkerStatus = Literal["pending", "processing", "completed", "failed"]
_STATUSES: Final[dict[JobStatus, WorkerStatus]] = {
    "queued": "pending",
    "running": "processing",
    "cancelling": "processing",
    "completed": "completed",
}
_PORTABLE: Final = {
    "num_inference_steps": "steps",
    "guidance_scale": "cfg_scale",
    "num_images": "batch_size",
    "num_images_per_prompt": "batch_size",
}
"""What the portable form calls the fields that it calls otherwise."""


class GenerateRequest(BaseModel):
    """What is asked for; fields of the portable form may stand beside these."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    prompt: str
    negative_prompt: str | None = None
    num_inference_steps: int | None = Field(default=None, ge=1, le=1000)
    guidance_scale: float | None = Field(default=None, ge=0, le=100)
    width: Side | None = None
    height: Side | None = None
    seed: int | None = Field(default=None, ge=-1, le=MAX_SEED)
    num_images: int | None = Field(default=None, ge=1, le=64)
    num_images_per_prompt: int | None = Field(default=None, ge=1, le=64)

    def content(self) -> dict[str, JsonValue]:
        """The job's content, in the portable form; what is not said is left to the runtime."""
        said = self.model_dump(exclude_none=True)
        return {_PORTABLE.get(name, name): value for name, value in said.items()}


class SubmittedWork(BaseModel):
    """A job that was taken."""

    job_id: str
    status: WorkerStatus
    queue_position: int | None = Field(description="Jobs ahead of it; null where nobody can tell.")
    estimated_time: float | None = Field(description="Seconds until its end, about.")


class WorkView(BaseModel):
    """A job, as it stands."""

    job_id: str
    status: WorkerStatus
    progress: float = Field(description="From 0 to 1.")
    image_url: str | None = Field(description="Of the first image, once it is there.")
    error: str | None

    @classmethod
    def of(cls, view: JobView, base_url: str) -> "WorkView":
        """`base_url` is the gateway's, as the caller knows it."""
        made = next((image for image in view.images if image.role == "output"), None)
        error = None
        if (status := _status_of(view)) == "failed":
            error = view.error.message if view.error else f"The job ended as {view.status}."
        return cls(
            job_id=view.id,
            status=status,
            progress=_progress_of(view),
            image_url=made and (made.presigned_url or base_url.rstrip("/") + made.href),
            error=error,
        )


class _Submission:
    """One request for images."""

    def __init__(
        self,
        gateway: GatewayPart,
        caller: CallerPart,
        own_id: OwnId,
        traceparent: Traceparent,
        runtime: RuntimeHeader = None,
    ) -> None:
        self._runtime = runtime
        self._service = gateway.service
        self._job = SynchronousJob(gateway, caller, own_id, traceparent)

    async def publish(self, body: GenerateRequest, response: Response) -> JobView:
        content = body.content()
        task_type = "image-to-image" if content.get("init_images") else "text-to-image"
        record = await self._job.submit(task_type, content, self._runtime)
        response.headers.update(headers_of(record))
        return await self._service.view(record)


@router.post("/generate")
async def generate(
    body: GenerateRequest, response: Response, submission: Annotated[_Submission, Depends()]
) -> SubmittedWork:
    """Ask for images; the job's id is what to ask for them by."""
    view = await submission.publish(body, response)
    return SubmittedWork(
        job_id=view.id,
        status=_status_of(view),
        queue_position=view.queue.position if view.queue else None,
        estimated_time=view.queue.estimated_seconds if view.queue else None,
    )


@router.get("/jobs/{job_id}")
async def get_work(
    job_id: str, request: Request, gateway: GatewayPart, caller: CallerPart
) -> WorkView:
    """How a job stands, and where its image is."""
    record = await gateway.service.find(caller, job_id)
    return WorkView.of(await gateway.service.view(record), str(request.base_url))


@router.delete("/jobs/{job_id}")
async def cancel_work(
    job_id: str, request: Request, gateway: GatewayPart, caller: CallerPart
) -> WorkView:
    """Call a job off. One that is finished stays as it is."""
    record = await gateway.service.find(caller, job_id)
    return WorkView.of(await gateway.service.cancel(record), str(request.base_url))


@router.websocket("/ws/jobs/{job_id}")
async def watch_work(socket: WebSocket, job_id: str) -> None:
    """`{"status": …, "progress": …}` with each change, closed after the last."""

    def written(view: JobView) -> str:
        return to_json({"status": _status_of(view), "progress": _progress_of(view)}).decode()

    await relay(socket, job_id, written)


def _status_of(view: JobView) -> WorkerStatus:
    return _STATUSES.get(view.status, "failed")


def _progress_of(view: JobView) -> float:
    return 1.0 if view.status == "completed" else view.progress or 0.0
