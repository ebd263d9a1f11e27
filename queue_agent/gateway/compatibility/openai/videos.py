"""The routes for videos: asked for and fetched later, as the client of OpenAI does.

https://platform.openai.com/docs/api-reference/videos
"""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from queue_agent.gateway import files
from queue_agent.gateway.bodies import CleanRoute
from queue_agent.gateway.compatibility.openai.names import Chosen, choose
from queue_agent.gateway.compatibility.openai.video_fields import (
    VideoRequest,
    form_schema,
    read_request,
    task_of,
)
from queue_agent.gateway.compatibility.synchronous import (
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
from queue_agent.gateway.keys import Caller
from queue_agent.gateway.problems import OPENAI_WITHHELD, WITHHELD, OpenAIError, documented
from queue_agent.gateway.records import Record
from queue_agent.gateway.schemas import ImageView, JobView
from queue_agent.gateway.search import Wanted
from queue_agent.media.facts import kind_of
from queue_agent.wire.notification import Image
from queue_agent.wire.problems import Problem
from queue_agent.wire.video_and_mesh import VIDEO_TASKS

router = APIRouter(route_class=CleanRoute, tags=["OpenAI"], responses=documented(OpenAIError))

_MAY_MAKE_VIDEOS: Final = VIDEO_TASKS | {"pipeline"}
"""Task types of which a job may be looked at here."""
_PAGES: Final = 4
"""That are gone through for one list, of 500 jobs each."""

VideoStatus = Literal["queued", "in_progress", "completed", "failed"]
_STATUSES: Final[dict[str, VideoStatus]] = {
    "queued": "queued",
    "running": "in_progress",
    "cancelling": "in_progress",
    "completed": "completed",
}


class VideoFault(BaseModel):
    """Why there is no video."""

    code: str
    message: str


class VideoView(BaseModel):
    """A job for a video, as OpenAI's server shows it."""

    id: str
    object: Literal["video"] = "video"
    model: str = Field(description="The checkpoint that was asked for, else the runtime.")
    status: VideoStatus
    progress: int = Field(description="Percent.")
    created_at: int = Field(description="Seconds since the epoch.")
    completed_at: int | None = None
    expires_at: int | None = None
    prompt: str | None = None
    seconds: str | None = Field(description="As made, else as asked; null until that is known.")
    size: str | None = Field(description="As made, else as asked; null until that is known.")
    remixed_from_video_id: str | None = None
    error: VideoFault | None = None
    warnings: list[str] = Field(default_factory=list)

    @classmethod
    def of(cls, view: JobView) -> "VideoView":
        made = next((image for image in view.images if _is_video(image)), None)
        status = _STATUSES.get(view.status, "failed")
        created, took = view.submitted_at.timestamp(), view.timings
        ended = created + sum(took.model_dump().values()) if took and view.finished else None
        content = view.content
        error = None
        if status == "failed":
            message = view.error.message if view.error else f"The job ended as {view.status}."
            code = view.error.type if view.error else view.status
            code = OPENAI_WITHHELD if code == WITHHELD else code
            error = VideoFault(code=code, message=message)
        return cls(
            id=view.id,
            model=str(content.get("model") or view.runtime),
            status=status,
            progress=100 if status == "completed" else int(100 * (view.progress or 0)),
            created_at=int(created),
            completed_at=int(ended) if ended else None,
            prompt=str(content["prompt"]) if "prompt" in content else None,
            seconds=_seconds(view, made),
            size=_size(view, made),
            error=error,
            warnings=view.warnings,
        )


class VideoList(BaseModel):
    """Some of the caller's videos, the newest first."""

    object: Literal["list"] = "list"
    data: list[VideoView]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedVideo(BaseModel):
    """What became of a request to delete a video."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: bool = Field(description="Whether the job is called off; one that has ended stays.")


class _Visit:
    """One request for a video."""

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

    async def submit(self, body: VideoRequest) -> tuple[Record, JobView]:
        """Publish a job for what the body asks.

        Raises:
            Problem: nobody here makes such videos, or the body contradicts itself.
        """
        content = body.content()
        task_type = task_of(content)
        chosen = await self._choose(body.model, task_type)
        if chosen.checkpoint is not None:
            content["model"] = chosen.checkpoint
        record = await self._job.submit(task_type, content, chosen.runtime, context=body.context)
        return record, await self._gateway.service.view(record)

    async def _choose(self, name: str | None, task_type: str) -> Chosen:
        """Who makes it: a name that nobody knows is left to the first that makes such videos."""
        chosen = await choose(self._gateway, name, self._runtime)
        if await self._may_make(chosen.runtime, task_type):
            return chosen
        is_open = not name or chosen.checkpoint == name
        if is_open and self._runtime is None:
            for runtime in self._gateway.settings.queues:
                if await self._may_make(runtime, task_type):
                    return Chosen(runtime, chosen.checkpoint)
        words = f"model: {chosen.runtime} does no {task_type}."
        raise Problem(400, "invalid_value", words, param="model")

    async def _may_make(self, runtime: str, task_type: str) -> bool:
        """Also where no agent has told yet."""
        offer = await self._gateway.offers.of(runtime)
        return offer.adapter is None or task_type in offer.task_types


VisitPart = Annotated[_Visit, Depends(_Visit)]


@router.post("/v1/videos", openapi_extra=form_schema())
async def create_video(request: Request, response: Response, visit: VisitPart) -> VideoView:
    """Ask for a video, from a text or from an image."""
    record, view = await visit.submit(await read_request(request))
    response.headers.update(headers_of(record))
    return VideoView.of(view)


@router.get("/v1/videos")
async def list_videos(
    gateway: GatewayPart,
    caller: CallerPart,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(description="The `last_id` of an earlier list.")] = None,
    order: Annotated[Literal["asc", "desc"], Query(description="`desc` only.")] = "desc",
) -> VideoList:
    """The caller's jobs for videos, the newest first."""
    if order != "desc":
        raise Problem(400, "invalid_value", "order: only the newest first.", param="order")
    cursor = (await gateway.service.find(caller, after)).cursor if after else None
    found: list[JobView] = []
    wanted = Wanted(task_types=VIDEO_TASKS)
    for _ in range(_PAGES):
        page = await gateway.service.page(caller, wanted, cursor=cursor, limit=limit - len(found))
        found += page.jobs
        cursor = page.next
        if cursor is None or len(found) == limit:
            break
    return VideoList(
        data=[VideoView.of(view) for view in found],
        first_id=found[0].id if found else None,
        last_id=found[-1].id if found else None,
        has_more=cursor is not None and bool(found),
    )


@router.get("/v1/videos/{video_id}")
async def retrieve_video(video_id: str, gateway: GatewayPart, caller: CallerPart) -> VideoView:
    """How a job for a video stands."""
    record = await _find(gateway, caller, video_id)
    return VideoView.of(await gateway.service.view(record))


@router.get(
    "/v1/videos/{video_id}/content",
    response_class=Response,
    responses={
        200: {"content": {"video/*": {}, "image/jpeg": {}}, "description": "The file."},
        206: {"content": {"video/*": {}}, "description": "The part that `Range` asks for."},
        304: {"description": "It is still the one that `If-None-Match` names."},
        410: {"model": OpenAIError, "description": "It is no longer kept."},
        416: {"model": OpenAIError, "description": "It has no such part."},
    },
)
async def download_video(
    video_id: str,
    request: Request,
    gateway: GatewayPart,
    caller: CallerPart,
    variant: Literal["video", "thumbnail", "spritesheet"] = "video",
) -> Response:
    """The video, or its first frame as `thumbnail`."""
    record = await _find(gateway, caller, video_id)
    if variant == "spritesheet":
        raise Problem(404, "not_offered", "There are no spritesheets.", param="variant")
    result = await gateway.service.result(record)
    if result is None:
        raise Problem(404, "not_ready", "The video is not there yet.")
    wanted = next((image for image in result.made if _is_video(image)), None)
    if wanted is not None and variant == "thumbnail":
        wanted = next((image for image in result.images if image.url == wanted.poster), None)
    if wanted is None:
        words = f"The job has no {variant}; it is {result.status}."
        raise Problem(404, "no_such_file", words, param="variant")
    return await files.answer(gateway.bucket, gateway.service.stored(wanted), request.headers)


@router.delete("/v1/videos/{video_id}")
async def delete_video(video_id: str, gateway: GatewayPart, caller: CallerPart) -> DeletedVideo:
    """Call a job off. A video that is there stays: files are the bucket's lifecycle's."""
    record = await _find(gateway, caller, video_id)
    ended = (await gateway.service.view(record)).finished
    if not ended:
        await gateway.service.cancel(record)
    return DeletedVideo(id=record.id, deleted=not ended)


async def _find(gateway: Gateway, caller: Caller, video_id: str) -> Record:
    record = await gateway.service.find(caller, video_id)
    if record.task_type not in _MAY_MAKE_VIDEOS:
        raise Problem(404, "no_such_video", "There is no video of that id.", param="video_id")
    return record


def _is_video(image: Image | ImageView) -> bool:
    return kind_of(image.media_type) == "video"


def _seconds(view: JobView, made: ImageView | None) -> str | None:
    asked = view.content.get("seconds")
    seconds = made.duration if made is not None and made.duration else asked
    return f"{seconds:g}" if isinstance(seconds, int | float) else None


def _size(view: JobView, made: ImageView | None) -> str | None:
    width, height = view.content.get("width"), view.content.get("height")
    if made is not None and made.width and made.height:
        width, height = made.width, made.height
    return f"{width}x{height}" if width and height else None
