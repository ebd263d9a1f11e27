"""What a job may be, and what is filled in where it says nothing: the same at every door.

The client, `queue-agent submit`, the gateway and the function behind API Gateway all ask here.
What passes is understood by every agent. All refusals are `Rejected`, of these types:

    invalid_json        the body is no JSON text
    invalid_job         it is no job; the message names each faulty field
    unknown_runtime     nobody here has the runtime that it names
    forbidden_prefix    its results may not lie there
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from pydantic import BaseModel, JsonValue, ValidationError

from queue_agent.wire.bounded_json import JsonError, load
from queue_agent.wire.capacity import ON_DEMAND, SPOT, SpotEstimate, capacity_for
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import Job, canonical_json, describe_errors, unwrapped
from queue_agent.wire.layout import DEFAULT_PREFIX, ResultKeys
from queue_agent.wire.output import OutputOptions
from queue_agent.wire.priorities import PRIORITIES
from queue_agent.wire.video_and_mesh import video_task_of

INVALID_JSON: Final = "invalid_json"
INVALID_JOB: Final = "invalid_job"
UNKNOWN_RUNTIME: Final = "unknown_runtime"
FORBIDDEN_PREFIX: Final = "forbidden_prefix"


@dataclass(frozen=True)
class Terms:
    """Which jobs a door takes."""

    runtime: str | None = None
    """The runtime of jobs that name none."""
    folders: Mapping[str, Sequence[str]] | None = None
    """Where results may lie, by runtime; without folders anywhere. None: any runtime is taken."""
    tenant: str | None = None
    """Whose jobs are that name no tenant."""

    @classmethod
    def among(cls, folders: Mapping[str, Sequence[str]], *, tenant: str | None = None) -> Self:
        """These runtimes only; the first is for jobs that name none."""
        return cls(next(iter(folders)), folders, tenant)


ANY: Final = Terms()


class Accepted(BaseModel):
    """What AWS's guidance answers to a job that was taken."""

    id: str
    runtime: str
    output_location: str

    @classmethod
    def of(cls, job: Job, bucket: str) -> Self:
        return cls(
            id=job.id,
            runtime=job.metadata.runtime or "",
            output_location=f"s3://{bucket}/{ResultKeys.of(job).folder}",
        )


def read_body(text: str | bytes) -> dict[str, JsonValue]:
    """The object with `metadata` and `content` in a request's body, bare or as `task` of another.

    Raises:
        Rejected: there is none.
    """
    return job_body(read_json(text))


def read_json(text: str | bytes) -> JsonValue:
    """What a request's body says.

    Raises:
        Rejected: it is no JSON, or too much of it (`queue_agent.wire.bounded_json`).
    """
    try:
        return load(text)
    except JsonError as error:
        raise Rejected(f"The body is not usable JSON: {error}", type=INVALID_JSON) from error


def job_body(value: JsonValue) -> dict[str, JsonValue]:
    """The same as `read_body`, of a body that was parsed before; raises like it."""
    body = unwrapped(value)
    if body is None:
        raise Rejected(
            "The body is JSON, but not an object with 'content' and 'metadata'.", type=INVALID_JOB
        )
    return body


def complete(
    body: Mapping[str, JsonValue], terms: Terms = ANY, *, job_id: str | None = None
) -> Job:
    """The job that a body asks for. Fields of its metadata that are null count as absent.

    `job_id` is for one that has no id, else a new one is made; the task type is told from the
    content's portable fields.

    Raises:
        Rejected: it is no job, or not one for this door.
    """
    whole = {**body, "metadata": _filled(body, job_id)}
    try:
        canonical_json(whole)  # numbers that cannot be written again are found here
        job = Job.model_validate(whole)
    except ValidationError as error:
        raise Rejected(describe_errors(error), type=INVALID_JOB) from error
    except (ValueError, RecursionError) as error:
        raise Rejected(f"The job cannot be written as JSON: {error}", type=INVALID_JOB) from error
    return admit(job, terms)


def make_job(
    content: Mapping[str, JsonValue],
    *,
    runtime: str | None = None,
    task_type: str | None = None,
    job_id: str | None = None,
    prefix: str = DEFAULT_PREFIX,
    context: JsonValue = None,
    expires_at: datetime | None = None,
    deadline: datetime | None = None,
    priority: str | None = None,
    tenant: str | None = None,
    output: OutputOptions | Mapping[str, JsonValue] | None = None,
) -> Job:
    """A job, completed as by `complete`; raises like it."""
    told = output.said if isinstance(output, OutputOptions) else output
    metadata: dict[str, JsonValue] = {
        "id": job_id,
        "runtime": runtime,
        "tasktype": task_type,
        "prefix": prefix,
        "context": context,
        "expires_at": expires_at.isoformat() if expires_at else None,
        "deadline": deadline.isoformat() if deadline else None,
        "priority": priority,
        "tenant": tenant,
        "output": None if told is None else dict(told),
    }
    return complete({"metadata": metadata, "content": dict(content)})


def admit(job: Job, terms: Terms) -> Job:
    """The job, with its runtime and its tenant filled in.

    Raises:
        Rejected: it is not one for this door.
    """
    try:
        _ = job.digest  # one that was built in a program may hold what is no JSON
    except (ValueError, RecursionError) as error:
        raise Rejected(f"The job cannot be written as JSON: {error}", type=INVALID_JOB) from error
    runtime = job.metadata.runtime or terms.runtime
    if runtime and not runtime.isprintable():  # topics take it for no attribute
        raise Rejected("metadata.runtime: must not contain control characters", type=INVALID_JOB)
    priority = job.metadata.priority
    if priority and priority not in PRIORITIES:
        raise Rejected(
            f"metadata.priority: {priority!r} is none of: {', '.join(PRIORITIES)}", type=INVALID_JOB
        )
    if terms.folders is not None:
        _check(runtime, job.prefix, terms.folders)
    tenant = job.metadata.tenant or terms.tenant
    if (runtime, tenant) == (job.metadata.runtime, job.metadata.tenant):
        return job
    metadata = job.metadata.model_copy(update={"runtime": runtime, "tenant": tenant})
    return job.model_copy(update={"metadata": metadata})


def placed(job: Job, now: datetime, spot: SpotEstimate) -> Job:
    """The job, for on-demand capacity where spot is not sure to have it done by its deadline.

    To be asked only where its runtime has a queue for each; what says itself where it goes, goes
    there.
    """
    metadata = job.metadata
    if metadata.capacity_type or capacity_for(metadata.deadline, now, spot) == SPOT:
        return job
    metadata = metadata.model_copy(update={"capacity_type": ON_DEMAND})
    return job.model_copy(update={"metadata": metadata})


def new_id() -> str:
    """An id for a job that has none."""
    return secrets.token_hex(8)


def task_type_of(content: Mapping[str, object]) -> str:
    """What the portable form's fields ask for."""
    if video := video_task_of(content):
        return video
    if content.get("init_images"):
        return "image-to-image"
    if content.get("imageList"):
        return "extra-batch-images"
    if content.get("image"):
        return "extra-single-image"
    return "text-to-image"


def _filled(body: Mapping[str, JsonValue], job_id: str | None) -> JsonValue:
    metadata = body.get("metadata", {})
    if not isinstance(metadata, dict):
        return metadata  # validation says what is wrong with it
    content = body.get("content")
    given = {name: value for name, value in metadata.items() if value is not None}
    return {
        "id": job_id or new_id(),
        "tasktype": task_type_of(content if isinstance(content, dict) else {}),
        **given,
    }


def _check(runtime: str | None, prefix: str, folders: Mapping[str, Sequence[str]]) -> None:
    if runtime is None or runtime not in folders:
        known = ", ".join(folders)
        raise Rejected(f"metadata.runtime: {runtime!r} is none of: {known}", type=UNKNOWN_RUNTIME)
    allowed = folders[runtime]
    if allowed and not any(f"{prefix}/".startswith(f"{folder}/") for folder in allowed):
        raise Rejected(
            f"metadata.prefix: {prefix!r} lies in none of: {', '.join(allowed)}",
            type=FORBIDDEN_PREFIX,
        )
