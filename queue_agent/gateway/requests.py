"""What jobs asked for, whole, for those who want the like once more.

A record holds what a list shows. Of most jobs that is everything; what others asked for lies
beside it, in the very form in which it is answered, since it may be large.
"""

import asyncio
from typing import Final

from pydantic import JsonValue

from queue_agent.cloud import Bucket
from queue_agent.gateway.records import Record
from queue_agent.wire.errors import ObjectNotFound
from queue_agent.wire.job import Job, canonical_json
from queue_agent.wire.layout import request_key
from queue_agent.wire.problems import Problem

MEDIA_TYPE: Final = "application/json"


class Requests:
    """Those of the jobs that gateways took, in one bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def keep(self, record: Record, job: Job) -> None:
        """Note what the job asks for, unless its record says all of it."""
        if record.metadata is None:
            data = await asyncio.to_thread(_written, job.content, Record.metadata_of(job))
            await self._bucket.write(_key(record), data, media_type=MEDIA_TYPE)

    async def of(self, record: Record) -> bytes:
        """JSON with `metadata` and `content`, to be sent as a job of its own.

        Raises:
            Problem: 410, a lifecycle rule took it.
        """
        if record.metadata is not None:
            return _written(record.content, record.metadata)
        try:
            return await self._bucket.read(_key(record))
        except ObjectNotFound as error:
            raise Problem(
                410, "request_gone", "What the job asked for is no longer kept."
            ) from error

    async def forget(self, record: Record) -> None:
        """Of a job that could not be published."""
        if record.metadata is None:
            await self._bucket.delete(_key(record))


def _written(content: dict[str, JsonValue], metadata: dict[str, JsonValue]) -> bytes:
    return canonical_json({"metadata": metadata, "content": content}).encode()


def _key(record: Record) -> str:
    return request_key(record.owner, record.id, record.digest)
