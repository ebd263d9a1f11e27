"""From a message to a job: envelope, offloaded payload, and whether the job is for us."""

from collections.abc import Callable, Collection
from typing import Final

from queue_agent.cloud import Bucket, Message
from queue_agent.wire.errors import Malformed, ObjectNotFound, Rejected
from queue_agent.wire.job import Job, PayloadPointer, find_pointer, open_envelope, parse_job

_LARGEST_PAYLOAD: Final = 64 * 2**20


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

    async def open(self, message: Message) -> Job:
        """Read the job in a message.

        Raises:
            Malformed: the message holds no job that could be understood.
            Unavailable: its payload lies in a bucket that cannot be read now.
        """
        envelope = open_envelope(message.body, message.attributes)
        pointer = find_pointer(envelope.payload)
        payload = await self._fetch(pointer) if pointer else envelope.payload
        return parse_job(payload)

    def check(self, job: Job) -> None:
        """Raise `Rejected` when the job is meant for another runtime."""
        wanted = job.metadata.runtime
        if self._runtime_name and wanted and wanted != self._runtime_name:
            raise Rejected(
                f"The job is for the runtime {wanted!r}; this is {self._runtime_name!r}.",
                type="wrong_runtime",
            )
        if job.task_type not in self._task_types:
            known = ", ".join(sorted(self._task_types))
            raise Rejected(
                f"This runtime does no {job.task_type!r}; it does {known}.",
                type="unknown_task_type",
            )

    async def _fetch(self, pointer: PayloadPointer) -> str:
        if not self._may_read(pointer.bucket, pointer.key):
            raise Malformed(
                f"Payloads may not be read from s3://{pointer.bucket}/{pointer.key}.",
                type="payload_forbidden",
            )
        try:
            data = await self._bucket(pointer.bucket).read(pointer.key, limit=_LARGEST_PAYLOAD)
            return data.decode()
        except ObjectNotFound as error:
            raise Malformed(
                f"There is no payload at s3://{pointer.bucket}/{pointer.key}.",
                type="payload_not_found",
            ) from error
        except UnicodeDecodeError as error:
            raise Malformed("The payload is not UTF-8 text.") from error
        except Rejected as error:
            raise Malformed(error.message, type="payload_too_large") from error
