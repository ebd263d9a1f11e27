"""The fields of requests for videos and of their records.

In the dialect of https://platform.openai.com/docs/api-reference/videos, with the fields that
https://docs.vllm.ai/projects/vllm-omni/en/latest/ and other engines have beyond it.
"""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, Field

from queue_agent_diffusers.engine.jobs import EngineJob
from queue_agent_diffusers.engine.requests import Clip
from queue_agent_diffusers.errors import ServerError
from queue_agent_diffusers.http.api import CommonFields, blank_is_none

MAX_FRAMES: Final = 2048

VideoStatus = Literal["queued", "in_progress", "completed", "failed"]
_STATUSES: Final[dict[str, VideoStatus]] = {
    "queued": "queued",
    "running": "in_progress",
    "completed": "completed",
}


class VideoFields(CommonFields):
    """The fields of ``POST /v1/videos`` beside the files.

    Those are `input_reference`, with which the video begins, and `last_frame`, with which it
    ends; or both as `input_references`.
    """

    num_frames: Annotated[
        Annotated[int, Field(ge=1, le=MAX_FRAMES)] | None, BeforeValidator(blank_is_none)
    ] = Field(default=None, description="The nearest number that the model can make is made.")
    seconds: Annotated[
        Annotated[float, Field(gt=0, le=600)] | None, BeforeValidator(blank_is_none)
    ] = Field(default=None, description="Its length, where `num_frames` does not say it.")
    fps: Annotated[Annotated[int, Field(ge=1, le=240)] | None, BeforeValidator(blank_is_none)] = (
        Field(default=None, description="Frames that a second shows; else the model's own.")
    )

    @property
    def clip(self) -> Clip:
        """What they say of the length."""
        return Clip(frames=self.num_frames, seconds=self.seconds, fps=self.fps)


class VideoFailure(BaseModel):
    """Why there is no video."""

    code: int = Field(description="The HTTP status that the failure would be answered with.")
    type: str
    message: str


class VideoRecord(BaseModel):
    """A job for videos, as ``/v1/videos`` tells of it."""

    id: str
    object: Literal["video"] = "video"
    status: VideoStatus
    progress: int = Field(description="Per cent of the steps; 100 only when completed.")
    step: int
    steps: int | None = Field(description="None until it is known.")
    resumed_steps: int = Field(
        description="Steps of all its videos together that a checkpoint has saved."
    )
    previews: int = Field(
        description="How many looks at the first video there were, as `/v1/jobs/{id}/preview`."
    )
    created_at: int
    completed_at: int | None
    expires_at: int | None = Field(description="When the file is forgotten, if nobody asks before.")
    model: str
    prompt: str
    seed: int = Field(description="Of the first video; video i has seed + i.")
    size: str | None = Field(description="None until it is known; likewise below.")
    seconds: str | None
    frames: int | None
    fps: int | None
    num_outputs: int
    format: Literal["mp4"] = "mp4"
    warnings: list[str]
    error: VideoFailure | None


class VideoRecords(BaseModel):
    """The answer of ``GET /v1/videos``."""

    object: Literal["list"] = "list"
    data: list[VideoRecord]


class ForgottenVideo(BaseModel):
    """The answer of ``DELETE /v1/videos/{id}``."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


def status_of(job: EngineJob) -> VideoStatus:
    """How a job is; one that was cancelled has failed, as the dialect has no word for it."""
    return _STATUSES.get(job.state, "failed")


def fault_of(error: BaseException | None) -> VideoFailure | None:
    """What a job ended with, if not with a video."""
    if not isinstance(error, ServerError):
        return None
    return VideoFailure(code=error.status, type=error.code, message=str(error))
