"""The job: what a publisher sends, and how a message's body becomes one.

Reading is tolerant (unknown metadata is kept), but what names objects and routes work is
checked strictly: ids, prefixes and task types end up in object keys and URLs.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from queue_agent.wire.bounded_json import JsonError, load
from queue_agent.wire.capacity import CapacityType
from queue_agent.wire.errors import Malformed
from queue_agent.wire.layout import DEFAULT_PREFIX, clean_prefix
from queue_agent.wire.output import OutputOptions
from queue_agent.wire.pointer import PayloadPointer, pointer_of

__all__ = [
    "Envelope",
    "Job",
    "JobId",
    "Metadata",
    "PayloadPointer",
    "Prefix",
    "TaskType",
    "canonical_json",
    "describe_errors",
    "find_pointer",
    "open_envelope",
    "parse_job",
]

MOST_WRAPPINGS: Final = 5
"""Of a message within each other, that are opened."""


def _no_step(value: str) -> str:
    """Ids are parts of paths, where these lead elsewhere."""
    if value == "." or ".." in value:
        raise ValueError("must not be '.' or contain '..'")
    return value


JobId = Annotated[
    str,
    Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._-]+$"),
    AfterValidator(_no_step),
]
TaskType = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9-]+$")]
Prefix = Annotated[str, Field(max_length=512), AfterValidator(clean_prefix)]


_IMAGES_ONLY: Final = frozenset(
    {"text-to-image", "image-to-image", "extra-single-image", "extra-batch-images"}
)
"""Task types that make no videos, whatever the runtime."""

OnLate = Literal["run", "fail", "notify"]
"""What becomes of a job that will miss its deadline."""


class Metadata(BaseModel):
    """Who asks, what kind of job it is and where its results go.

    Fields that are not named here are kept and come back in the result manifest.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    id: JobId = Field(description="Names the job; the same id and content is the same job.")
    tasktype: TaskType = Field(description="Kind of job, e.g. `text-to-image`.")
    runtime: str | None = Field(
        default=None, max_length=128, description="Name of the runtime that shall do the job."
    )
    prefix: Prefix = Field(
        default=DEFAULT_PREFIX,
        description="Folder in the bucket; outer slashes ignored. Empty: the default.",
    )
    context: JsonValue = Field(default=None, description="Comes back untouched.")
    expires_at: AwareDatetime | None = Field(
        default=None, description="After this moment (ISO 8601 with a zone) nobody wants it."
    )
    deadline: AwareDatetime | None = Field(
        default=None,
        description="It is wanted by this moment (ISO 8601 with a zone), and still after it.",
    )
    on_late: OnLate | None = Field(
        default=None,
        description="What an agent does that expects to miss the deadline: `run` it all the same, "
        "`fail` it instead, or `notify` at once and run it; else as the operator says.",
    )
    capacity_type: CapacityType | None = Field(
        default=None,
        description="Of the nodes that it runs on, where its runtime has a queue for each type; "
        "else chosen by its deadline where it is published.",
    )
    priority: str | None = Field(
        default=None,
        max_length=64,
        description="`high`, `normal` or `low`: the queue that it goes to, where its runtime has "
        "one for each; without it normal.",
    )
    tenant: str | None = Field(
        default=None,
        max_length=128,
        coerce_numbers_to_str=True,
        description="Whose job it is, among whom a queue may share its agents fairly; a gateway "
        "with API keys puts the key's name here.",
    )
    previews: bool | None = Field(
        default=None,
        description="Whether images of the work under way are wanted, where the runtime has some "
        "and the operator allows it.",
    )
    output: OutputOptions | None = Field(
        default=None,
        description="How its images are delivered: format, size, metadata; else as the operator "
        "says.",
    )
    estimate: JsonValue = Field(
        default=None,
        description="What its publisher was told of its end and its cost; clients and gateways "
        "write it, and it comes back with the job's end.",
    )
    callback_url: str | None = Field(
        default=None,
        max_length=2048,
        description="Where notifications go as webhooks, too, if the operator allows its host.",
    )

    @model_validator(mode="after")
    def _may_be(self) -> Self:
        """Refuse before a run what its files cannot be made after it."""
        if self.output is None or self.tasktype not in _IMAGES_ONLY:
            return self
        if self.output.video_format is not None:
            raise ValueError(f"output.format: {self.tasktype} makes no videos")
        if self.output.animated_thumbnail:
            raise ValueError(f"output.animated_thumbnail: {self.tasktype} makes no videos")
        return self


class Job(BaseModel):
    """One request for images."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    metadata: Metadata
    content: dict[str, JsonValue] = Field(
        description="The runtime's own request, or the portable form (Web UI field names)."
    )

    @property
    def id(self) -> str:
        return self.metadata.id

    @property
    def task_type(self) -> str:
        return self.metadata.tasktype

    @property
    def prefix(self) -> str:
        return self.metadata.prefix

    @property
    def wants_previews(self) -> bool:
        """Whether images of the work under way are wanted."""
        return self.metadata.previews is True

    def without_previews(self) -> "Job":
        """The same job, which asks for none."""
        if self.metadata.previews is None:
            return self
        metadata = self.metadata.model_copy(update={"previews": None})
        return self.model_copy(update={"metadata": metadata})

    @cached_property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of what is asked: the content and the task type."""
        asked: JsonValue = {"content": self.content, "tasktype": self.task_type}
        return hashlib.sha256(canonical_json(asked).encode()).hexdigest()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> "Job":
        """As of any model; the digest is that of the copy."""
        copied = super().model_copy(update=update, deep=deep)
        if copied.content is not self.content or copied.task_type != self.task_type:
            copied.__dict__.pop("digest", None)
        return copied


@dataclass(frozen=True)
class Envelope:
    """The payload of a message without what transport put around it."""

    payload: str
    attributes: Mapping[str, str]


def canonical_json(value: JsonValue) -> str:
    """The one spelling of a JSON value that digests are taken of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def open_envelope(body: str, attributes: Mapping[str, str]) -> Envelope:
    """Take a message out of its SNS envelope, or several; a raw delivery is returned as it is.

    The envelope's form: https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html

    Raises:
        Malformed: it is not JSON, or an envelope with nothing in it.
    """
    envelope, value = Envelope(body, attributes), _load(body)
    for _ in range(MOST_WRAPPINGS):
        if not (isinstance(value, dict) and value.get("Type") == "Notification"):
            break
        envelope = _opened(value, envelope.attributes)
        try:
            value = load(envelope.payload)
        except JsonError:
            break
    return envelope


def _opened(envelope: Mapping[str, JsonValue], attributes: Mapping[str, str]) -> Envelope:
    message = envelope.get("Message")
    if not isinstance(message, str):
        raise Malformed("The SNS envelope has no text in 'Message'.")
    inner = envelope.get("MessageAttributes")
    own = {
        name: str(attribute.get("Value", ""))
        for name, attribute in (inner if isinstance(inner, dict) else {}).items()
        if isinstance(attribute, dict)
    }
    return Envelope(message, {**attributes, **own})


def find_pointer(payload: str) -> PayloadPointer | None:
    """The place of an offloaded payload, if the payload is only a pointer to it.

    Raises:
        Malformed: it is a pointer that names no place.
    """
    try:
        return pointer_of(load(payload))
    except JsonError:
        return None


def parse_job(payload: str | bytes) -> Job:
    """Read a job from its JSON text, and take its digest.

    Raises:
        Malformed: the text is no job; `details` carries the id and the context where they
            could be read all the same, so that the publisher can be answered.
    """
    return job_of(_load(payload))


def job_of(value: JsonValue) -> Job:
    """The job that a JSON value is; raises as `parse_job`."""
    found = unwrapped(value)
    if found is None:
        raise Malformed("The body is JSON, but not an object with 'metadata' and 'content'.")
    try:
        canonical_json(found.get("metadata"))  # numbers that cannot be written again
        job = Job.model_validate(found)
        _ = job.digest  # … are found here
    except ValidationError as error:
        raise Malformed(describe_errors(error), details=salvaged(found)) from error
    except (ValueError, RecursionError) as error:
        raise Malformed(f"The body cannot be processed: {error}") from error
    return job


def has_marks(value: JsonValue) -> bool:
    """Whether a JSON value is a job, good or broken, whatever else it has."""
    if not isinstance(value, dict):
        return False
    return isinstance(value.get("task"), dict) or {"metadata", "content"} <= value.keys()


def unwrapped(value: JsonValue) -> dict[str, JsonValue] | None:
    """The object with `metadata` and `content`, bare or as `task` of another; None: it is none."""
    inner = value.get("task") if isinstance(value, dict) else None
    found = inner if isinstance(inner, dict) else value
    return found if isinstance(found, dict) else None


def describe_errors(error: ValidationError) -> str:
    """One sentence per faulty field: where it stands and what is wrong with it."""
    lines = []
    for fault in error.errors(include_url=False, include_input=False)[:10]:
        where = ".".join(str(part) for part in fault["loc"]) or "body"
        lines.append(f"{where}: {fault['msg']}")
    return "; ".join(lines)


def _load(text: str | bytes) -> JsonValue:
    try:
        return load(text)
    except JsonError as error:
        raise Malformed(f"The body is not usable JSON: {error}") from error


def salvaged(value: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The id and context of a job that is otherwise wrong, each only if usable."""
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        return {}
    found: dict[str, JsonValue] = {}
    with suppress(ValidationError):
        found["id"] = Metadata.model_validate({"id": metadata.get("id"), "tasktype": "unknown"}).id
    if "context" in metadata:
        found["context"] = metadata["context"]
    return found
