"""What the gateway answers and is asked, as JSON."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from queue_agent.wire.job import Job, JobId, Prefix, TaskType
from queue_agent.wire.layout import DEFAULT_PREFIX
from queue_agent.wire.notification import ErrorReport, Timings

JobStatus = Literal[
    "queued", "running", "cancelling", "completed", "failed", "cancelled", "expired"
]


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class RequestMetadata(BaseModel):
    """Who asks for what; fields that are not named here are kept."""

    model_config = ConfigDict(extra="allow")

    id: JobId | None = Field(default=None, description="Else a new one is made.")
    tasktype: TaskType | None = Field(default=None, description="Else told from the content.")
    runtime: str | None = Field(default=None, max_length=128, description="Else the default one.")
    prefix: Prefix = Field(default=DEFAULT_PREFIX, description="Folder in the bucket.")
    context: JsonValue = Field(default=None, description="Comes back untouched.")
    expires_at: AwareDatetime | None = None
    priority: str | None = Field(default=None, max_length=64)


class JobRequest(BaseModel):
    """One request for images, in the queue's own form but with nothing required."""

    metadata: RequestMetadata = RequestMetadata()
    content: dict[str, JsonValue] = Field(
        description="The portable form (the Web UI's field names) or the runtime's own request."
    )


class TaskRequest(BaseModel):
    """The form of AWS's guidance."""

    task: Job


class TaskAnswer(_View):
    """The guidance's answer."""

    id: str
    runtime: str
    output_location: str


class QueueEstimate(_View):
    """Where a waiting job stands, about."""

    position: int = Field(description="Jobs ahead of it.")
    estimated_seconds: float | None = Field(description="Until its end.")


class ImageView(_View):
    """One file that was made."""

    href: str = Field(description="Where the gateway serves it.")
    url: str = Field(description="Where it lies in the bucket.")
    presigned_url: str | None = Field(description="A link that works without a key, for a while.")
    media_type: str
    width: int | None
    height: int | None
    bytes: int
    seed: int | None
    info: str | None
    role: str


class JobView(_View):
    """One job, as it stands."""

    id: str
    status: JobStatus
    runtime: str
    task_type: str
    submitted_at: AwareDatetime
    progress: float | None = Field(description="From 0 to 1; null where it is not known.")
    queue: QueueEstimate | None = Field(description="While queued, where the queue can be asked.")
    content: dict[str, JsonValue] = Field(description="As asked, without what is too long.")
    context: JsonValue
    images: list[ImageView]
    error: ErrorReport | None
    warnings: list[str]
    timings: Timings | None
    output_url: str | None

    @property
    def finished(self) -> bool:
        return self.status not in {"queued", "running", "cancelling"}


class JobPage(_View):
    """Some of the caller's jobs, the newest first."""

    jobs: list[JobView]
    next: str | None = Field(description="The `cursor` of the next page.")


class QueueState(_View):
    """How many messages the queue holds, about."""

    waiting: int
    in_flight: int


class RuntimeState(_View):
    """One runtime on offer."""

    name: str
    queue: QueueState | None
    seconds_per_job: float | None = Field(description="Mean of the recent runs.")
    throughput: list[int] = Field(description="Jobs ended, the latest span last.")
    throughput_seconds: float = Field(description="Length of a span.")


class RuntimeList(_View):
    """The runtimes on offer, the default one first."""

    runtimes: list[RuntimeState]
