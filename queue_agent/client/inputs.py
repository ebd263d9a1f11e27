"""What a publisher puts into the bucket on the way to a job: local files, large payloads."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from pydantic import JsonValue

from queue_agent.cloud import Bucket, Publication
from queue_agent.media.facts import media_type_of
from queue_agent.wire.errors import ObjectExists, Unavailable
from queue_agent.wire.job import Job
from queue_agent.wire.layout import input_key
from queue_agent.wire.publication import offloaded, publication_of

T = TypeVar("T")

_PAUSES: Final = (0.1, 0.5)

Scalar = str | int | float | bool | Path | bytes | None
Input = Scalar | Sequence["Input"] | Mapping[str, "Input"]
"""A field of a job's content; a `Path` or `bytes` anywhere in it stands for an input file."""

Content = Mapping[str, Input]


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


async def repeated(publish: Callable[[], Awaitable[T]]) -> T:
    """Publish jobs, a few times within a second where that fails.

    A job that was taken twice is done once, by its id, so that an answer that was lost is no
    reason not to ask again.

    Raises:
        Unavailable: they were taken in no attempt, or not surely.
    """
    for pause in _PAUSES:
        try:
            return await publish()
        except Unavailable as error:
            if error.type == "cloud_unauthorized":
                raise
        await asyncio.sleep(pause)
    return await publish()


async def publication(
    job: Job, bucket: Bucket | None, *, limit: int, trace: str | None = None, fair: bool = True
) -> Publication:
    """What is published of the job: itself, or a pointer to it where it is too large.

    Written off the loop, which megabytes of text would hold up.

    Raises:
        ValueError: it is too large, and there is no bucket to put it in.
    """
    whole = await asyncio.to_thread(publication_of, job, traceparent=trace, fair=fair)
    if whole.size <= limit:
        return whole
    if bucket is None:
        raise ValueError(f"a job of {whole.size} bytes needs a bucket to be offloaded to")
    offload = await asyncio.to_thread(offloaded, job, whole, bucket=bucket.name)
    await bucket.write(offload.key, offload.data, media_type="application/json")
    return offload.pointer


async def _upload(data: bytes, bucket: Bucket) -> str:
    media_type = media_type_of(data)
    key = input_key(hashlib.sha256(data).hexdigest(), media_type)
    with suppress(ObjectExists):
        await bucket.write(key, data, media_type=media_type, create_only=True)
    return bucket.url(key)
