"""From what a publisher writes down to a job: defaults, local files, large payloads."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import JsonValue, ValidationError

from queue_agent.cloud import Bucket, Publication
from queue_agent.media.facts import media_type_of
from queue_agent.wire.errors import ObjectExists, Rejected
from queue_agent.wire.job import Job, Metadata, canonical_json, describe_errors
from queue_agent.wire.layout import DEFAULT_PREFIX, input_key, payload_key

Scalar = str | int | float | bool | Path | bytes | None
Input = Scalar | Sequence["Input"] | Mapping[str, "Input"]
"""A field of a job's content; a `Path` or `bytes` anywhere in it stands for an input file."""

Content = Mapping[str, Input]

POINTER_CLASS: Final = "software.amazon.payloadoffloading.PayloadS3Pointer"


def make_job(
    content: Mapping[str, JsonValue],
    *,
    runtime: str | None,
    task_type: str | None = None,
    job_id: str | None = None,
    prefix: str = DEFAULT_PREFIX,
    context: JsonValue = None,
    expires_at: datetime | None = None,
    priority: str | None = None,
) -> Job:
    """A job with a new id unless one is given.

    The task type, if none is given, is told from the content.

    Raises:
        Rejected: it would not be understood (type ``invalid_job``).
    """
    fields = {
        "id": job_id if job_id is not None else secrets.token_hex(8),
        "runtime": runtime,
        "tasktype": task_type or task_type_of(content),
        "prefix": prefix,
        "context": context,
        "expires_at": expires_at,
        "priority": priority,
    }
    try:
        canonical_json(dict(content))
        return Job(metadata=Metadata.model_validate(fields), content=dict(content))
    except ValidationError as error:
        raise Rejected(describe_errors(error), type="invalid_job") from error
    except (ValueError, RecursionError) as error:
        raise Rejected(
            f"The content cannot be written as JSON: {error}", type="invalid_job"
        ) from error


def task_type_of(content: Mapping[str, object]) -> str:
    """What the portable form's fields ask for."""
    if content.get("init_images"):
        return "image-to-image"
    if content.get("imageList"):
        return "extra-batch-images"
    if content.get("image"):
        return "extra-single-image"
    return "text-to-image"


async def upload_files(value: Input, bucket: Bucket | None) -> JsonValue:
    """The value with every file in it uploaded and replaced by a reference.

    Objects are named by their digest, so that the same file is the same input, and the job
    asking for it the same job.

    Raises:
        ValueError: there is a file, but no bucket to put it in.
        OSError: a file cannot be read.
    """
    if isinstance(value, Path | bytes):
        if bucket is None:
            raise ValueError("input files need a bucket to be uploaded to")
        data = value if isinstance(value, bytes) else value.read_bytes()
        return await _upload(data, bucket)
    if isinstance(value, Mapping):
        return {str(name): await upload_files(part, bucket) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [await upload_files(part, bucket) for part in value]
    return value


async def publication(
    job: Job, bucket: Bucket | None, *, limit: int, trace: str | None = None
) -> Publication:
    """What is published of the job: itself, or a pointer to it where it is too large.

    Raises:
        ValueError: it is too large, and there is no bucket to put it in.
    """
    attributes = {"runtime": job.metadata.runtime} if job.metadata.runtime else {}
    if trace:
        attributes["traceparent"] = trace
    whole = Publication(job.model_dump_json(exclude_none=True, ensure_ascii=True), attributes)
    if whole.size <= limit:
        return whole
    if bucket is None:
        raise ValueError(f"a job of {whole.size} bytes needs a bucket to be offloaded to")
    data = whole.body.encode()
    key = payload_key(job.id, hashlib.sha256(data).hexdigest())
    await bucket.write(key, data, media_type="application/json")
    pointer: JsonValue = [POINTER_CLASS, {"s3BucketName": bucket.name, "s3Key": key}]
    return Publication(canonical_json(pointer), attributes)


async def _upload(data: bytes, bucket: Bucket) -> str:
    media_type = media_type_of(data)
    key = input_key(hashlib.sha256(data).hexdigest(), media_type)
    with suppress(ObjectExists):
        await bucket.write(key, data, media_type=media_type, create_only=True)
    return bucket.url(key)
