"""From a message to a job: envelope, offloaded payload, and whether the job is for us."""

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from typing import Final, TypeVar

from queue_agent.cloud import Bucket, Message
from queue_agent.wire.errors import Malformed, ObjectNotFound, Rejected
from queue_agent.wire.job import Job
from queue_agent.wire.layout import is_payload
from queue_agent.wire.message import read_message
from queue_agent.wire.pointer import PayloadPointer
from queue_agent.wire.publication import LARGEST_PAYLOAD

_AT_ONCE: Final = 32 * 2**10
"""Bytes that are parsed within milliseconds; more would hold up leases and probes."""

WRONG_RUNTIME: Final = "wrong_runtime"
"""The type of the refusal of a job for another runtime."""

_Read = TypeVar("_Read")


class Inbox:
    """Reads the jobs of one runtime."""

    def __init__(
        self,
        bucket: Callable[[str], Bucket],
        *,
        may_read: Callable[[str, str], bool],
        task_types: Collection[str],
        runtime_name: str | None,
    ) -> None:
        """`may_read` says by bucket and key where payloads may lie.

        `runtime_name`: jobs that name another runtime are refused; None takes them all.
        """
        self._bucket = bucket
        self._may_read = may_read
        self._task_types = task_types
        self._runtime_name = runtime_name
        self._parsing = asyncio.Semaphore(1)

    async def open(self, message: Message) -> Job:
        """Read the job in a message.

        Raises:
            NoJob: the message asks for nothing.
            Malformed: the message holds no job that could be understood.
            Unavailable: its payload lies in a bucket that cannot be read now.
        """
        read = partial(read_message, message.body, message.attributes)
        found = await self._parsed(len(message.body), read)
        if isinstance(found, Job):
            return found
        payload = await self._fetch(found)
        try:
            return await self._parsed(len(payload), partial(_job_in, payload))
        except Malformed as error:
            # what is said of it goes to whoever wrote the pointer, who may be another
            raise Malformed(error.message, type=error.type) from error

    async def _parsed(self, size: int, parse: Callable[[], _Read]) -> _Read:
        """What is read from so many bytes; much of it in a thread, one at a time."""
        if size <= _AT_ONCE:
            return parse()
        async with self._parsing:
            return await asyncio.to_thread(parse)

    def check(self, job: Job) -> None:
        """Raise `Rejected` when the job is meant for another runtime."""
        wanted = job.metadata.runtime
        if self._runtime_name and wanted and wanted != self._runtime_name:
            raise Rejected(
                f"The job is for the runtime {wanted!r}; this is {self._runtime_name!r}.",
                type=WRONG_RUNTIME,
            )
        if job.task_type not in self._task_types:
            known = ", ".join(sorted(self._task_types))
            raise Rejected(
                f"This runtime does no {job.task_type!r}; it does {known}.",
                type="unknown_task_type",
            )

    async def _fetch(self, pointer: PayloadPointer) -> bytes:
        bucket, key = pointer.bucket, pointer.key
        if not (is_payload(key) and self._may_read(bucket, key)):
            raise Malformed(
                f"Payloads may not be read from s3://{bucket}/{key}.", type="payload_forbidden"
            )
        try:
            return await self._bucket(bucket).read(key, limit=LARGEST_PAYLOAD)
        except ObjectNotFound as error:
            raise Malformed(
                f"There is no payload at s3://{bucket}/{key}.", type="payload_not_found"
            ) from error
        except Rejected as error:
            raise Malformed(error.message, type="payload_too_large") from error


def _job_in(payload: bytes) -> Job:
    found = read_message(payload)
    if isinstance(found, Job):
        return found
    raise Malformed("The payload is a pointer to another.", type="payload_forbidden")
