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
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
)

from queue_agent.wire.bounded_json import JsonError, load
from queue_agent.wire.errors import Malformed
from queue_agent.wire.layout import DEFAULT_PREFIX, clean_prefix

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

POINTER_CLASSES: Final = (
    # Amazon SQS Extended Client Library for Java 2.x (and Python, SNS), and 1.x.
    "software.amazon.payloadoffloading.PayloadS3Pointer",
    "com.amazon.sqs.javamessaging.MessageS3Pointer",
)


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
    priority: str | None = Field(default=None, max_length=64)
    callback_url: str | None = Field(
        default=None,
        max_length=2048,
        description="Where notifications go as webhooks, too, if the operator allows its host.",
    )


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


@dataclass(frozen=True)
class PayloadPointer:
    """Where a payload lies that was too large for the queue."""

    bucket: str
    key: str


def canonical_json(value: JsonValue) -> str:
    """The one spelling of a JSON value that digests are taken of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def open_envelope(body: str, attributes: Mapping[str, str]) -> Envelope:
    """Take a message out of its SNS envelope; a raw delivery is returned as it is.

    The envelope's form: https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
    """
    value = _load(body)
    if not (isinstance(value, dict) and value.get("Type") == "Notification"):
        return Envelope(body, attributes)
    message = value.get("Message")
    if not isinstance(message, str):
        raise Malformed("The SNS envelope has no text in 'Message'.")
    inner = value.get("MessageAttributes")
    envelope_attributes = {
        name: str(attribute.get("Value", ""))
        for name, attribute in (inner if isinstance(inner, dict) else {}).items()
        if isinstance(attribute, dict)
    }
    return Envelope(message, {**attributes, **envelope_attributes})


def find_pointer(payload: str) -> PayloadPointer | None:
    """The place of an offloaded payload, if the payload is only a pointer to it.

    The pointer's form is that of the SQS Extended Client:
    https://github.com/awslabs/amazon-sqs-java-extended-client-lib
    """
    if not payload.lstrip().startswith("["):
        return None
    value = _load(payload)
    if not (isinstance(value, list) and len(value) == 2 and value[0] in POINTER_CLASSES):
        return None
    place = value[1]
    if not isinstance(place, dict):
        raise Malformed("The payload pointer names no place.")
    bucket, key = place.get("s3BucketName"), place.get("s3Key")
    if not (isinstance(bucket, str) and bucket and isinstance(key, str) and key):
        raise Malformed("The payload pointer lacks 's3BucketName' or 's3Key'.")
    return PayloadPointer(bucket, key)


def parse_job(payload: str | bytes) -> Job:
    """Read a job from its JSON text, and take its digest.

    Raises:
        Malformed: the text is no job; `details` carries the id and the context where they
            could be read all the same, so that the publisher can be answered.
    """
    value = unwrapped(_load(payload))
    if value is None:
        raise Malformed("The body is JSON, but not an object with 'metadata' and 'content'.")
    try:
        canonical_json(value.get("metadata"))  # numbers that cannot be written again
        job = Job.model_validate(value)
        _ = job.digest  # … are found here
    except ValidationError as error:
        raise Malformed(describe_errors(error), details=_salvage(value)) from error
    except (ValueError, RecursionError) as error:
        raise Malformed(f"The body cannot be processed: {error}") from error
    return job


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


def _salvage(value: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
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
