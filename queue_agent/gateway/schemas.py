"""What the gateway answers and is asked, as JSON."""

from typing import Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from queue_agent.wire.estimate import JobEstimate
from queue_agent.wire.job import Job
from queue_agent.wire.notification import ErrorReport, Timings
from queue_agent.wire.offer import Capabilities, NamedWorkflow

JobStatus = Literal[
    "queued", "running", "cancelling", "completed", "failed", "cancelled", "expired"
]


JsonObject = dict[str, Any]


def _ref(model: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{model}"}


def request_schemas() -> dict[str, JsonObject]:
    """Schemas of what jobs are asked for by: the queue's own form, with little of it required."""
    job = Job.model_json_schema(ref_template="#/components/schemas/{model}")
    metadata = job.pop("$defs")["Metadata"]
    metadata["required"] = []
    metadata["properties"]["id"]["description"] += " Else one is made."
    metadata["properties"]["tasktype"]["description"] += " Else told from the content."
    metadata["properties"]["runtime"]["description"] += " Else the default one."
    job["required"] = ["content"]
    task = {"type": "object", "properties": {"task": _ref("Job")}, "required": ["task"]}
    return {"Metadata": metadata, "Job": job, "Task": task}


REQUEST_BODY: Final[JsonObject] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"anyOf": [_ref("Job"), _ref("Task")]}}},
    }
}
"""Of routes that read their body themselves."""


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class QueueEstimate(_View):
    """Where a waiting job stands, about."""

    position: int = Field(description="Jobs ahead of it.")
    estimated_seconds: float | None = Field(description="Until its end.")


class VariantView(_View):
    """Another file of the same picture."""

    role: Literal["original", "thumbnail", "animated_thumbnail"]
    href: str | None = Field(description="Where the gateway serves it; null if it is not kept.")
    url: str | None = Field(description="Where it lies in the bucket.")
    presigned_url: str | None = Field(description="A link that works without a key, for a while.")
    media_type: str
    width: int | None
    height: int | None
    bytes: int
    sha256: str


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
    duration: float | None = Field(default=None, description="Seconds, of a video.")
    frames: int | None = None
    fps: float | None = None
    codec: str | None = None
    poster: str | None = Field(
        default=None, description="Where the gateway serves a video's first frame."
    )
    thumbnail: str | None = Field(
        default=None, description="Where the gateway serves a small WebP of it, if there is one."
    )
    placeholder: str | None = Field(
        default=None, description="What it looks like from afar, as a BlurHash."
    )
    variants: list[VariantView] = Field(
        default_factory=list, description="Other files of the same picture."
    )


class JobView(_View):
    """One job, as it stands."""

    id: str
    status: JobStatus
    runtime: str
    task_type: str
    submitted_at: AwareDatetime
    progress: float | None = Field(description="From 0 to 1; null where it is not known.")
    stage: str | None = Field(
        default=None, description="What is done before the run, as `fetching model …`, if anything."
    )
    preview: str | None = Field(
        default=None,
        description="While running, where the gateway serves the latest image of the work under "
        "way; another address for each.",
    )
    queue: QueueEstimate | None = Field(description="While queued, where the queue can be asked.")
    content: dict[str, JsonValue] = Field(description="As asked, without what is too long.")
    context: JsonValue
    images: list[ImageView]
    error: ErrorReport | None
    warnings: list[str]
    timings: Timings | None
    estimate: JobEstimate | None = Field(
        default=None, description="What was expected of it when it was submitted."
    )
    gpu_seconds: float | None = Field(
        default=None, description="What it has used of the GPU, once it has ended."
    )
    cost: float | None = Field(default=None, description="Of that, by the operator's price.")
    output_location: str = Field(description="The folder that its results lie in.")
    output_url: str | None = Field(description="The result manifest, once there is one.")

    @property
    def finished(self) -> bool:
        return self.status not in {"queued", "running", "cancelling"}


class JobRequest(_View):
    """What a job asked for: all of it but its id and its times."""

    metadata: dict[str, JsonValue]
    content: dict[str, JsonValue]


class JobPage(_View):
    """Some of the caller's jobs, the newest first."""

    jobs: list[JobView]
    next: str | None = Field(description="The `cursor` of the next page.")


class QueueState(_View):
    """How many messages the queue holds, about."""

    waiting: int
    in_flight: int


class LoadedModel(_View):
    """A model that agents' runtimes have loaded."""

    model: str = Field(description="Its name without folders, extension and hash.")
    agents: int = Field(description="How many have it.")


class RuntimeState(_View):
    """One runtime on offer."""

    name: str
    queue: QueueState | None
    seconds_per_job: float | None = Field(description="Mean of the recent runs.")
    throughput: list[int] = Field(description="Jobs ended, the latest span last.")
    throughput_seconds: float = Field(description="Length of a span.")
    adapter: str | None = Field(description="Its agents'; null where none has said so yet.")
    task_types: tuple[str, ...] = Field(description="Empty where no agent has said so yet.")
    workflows: tuple[NamedWorkflow, ...] = Field(
        description="Those that `pipeline` jobs ask for by name, with their inputs."
    )
    capabilities: Capabilities = Field(description="What the server has, as its agents say.")
    loaded: tuple[LoadedModel, ...] = Field(
        default=(), description="What jobs need no switch for now, as its agents say."
    )
    shortened: tuple[str, ...] = Field(
        description="Which of these lists are too long to stand here whole."
    )
    paused: list[str] = Field(
        description="What operators hold back of it now, in words: jobs for that wait."
    )


class RuntimeList(_View):
    """The runtimes on offer, the default one first."""

    runtimes: list[RuntimeState]
    body_limit: int = Field(description="Bytes that the gateway takes in one request.")
