"""Jobs that nobody wants any more: cancelled by a marker in the bucket, or expired."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import structlog

from queue_agent.cloud import Bucket
from queue_agent.errors import JobCancelled, JobExpired, Unavailable, Withdrawn
from queue_agent.job import Job
from queue_agent.result import cancel_marker
from queue_agent.tasks import background

log = structlog.get_logger()

_EXPIRY_POLL = 1.0


class WithdrawalWatch:
    """Looks whether jobs are still wanted, at once and then every `poll` seconds."""

    def __init__(
        self, bucket: Bucket, *, poll: float, now: Callable[[], float] = time.time
    ) -> None:
        self._bucket = bucket
        self._poll = poll
        self._now = now

    @asynccontextmanager
    async def wanted(self, job: Job) -> AsyncIterator[None]:
        """A block that ends with `JobCancelled` or `JobExpired` when the job is withdrawn."""
        reason: Withdrawn | None = self._expired(job)
        if reason is not None:
            raise reason
        try:
            async with asyncio.timeout(None) as scope:

                async def watch() -> None:
                    nonlocal reason
                    reason = await self._withdrawn(job)
                    scope.reschedule(asyncio.get_running_loop().time())

                async with background(watch()):
                    yield
        except TimeoutError:
            if scope.expired() and reason is not None:
                raise reason from None
            raise

    async def _withdrawn(self, job: Job) -> Withdrawn:
        """Wait until the job is withdrawn; the reason."""
        if not self._poll and job.metadata.expires_at is None:
            if await self._cancelled(job):
                return _cancelled()
            await asyncio.Event().wait()
        next_look = 0.0
        while True:
            moment = time.monotonic()
            if moment >= next_look:
                if await self._cancelled(job):
                    return _cancelled()
                next_look = moment + self._poll if self._poll else float("inf")
            if (expired := self._expired(job)) is not None:
                return expired
            await asyncio.sleep(self._pause(job))

    def _pause(self, job: Job) -> float:
        pause = self._poll or _EXPIRY_POLL
        expires = job.metadata.expires_at
        if expires is None:
            return pause
        # a jump of the wall clock is noticed within the pause
        return min(pause, _EXPIRY_POLL, max(0.0, expires.timestamp() - self._now()))

    async def _cancelled(self, job: Job) -> bool:
        try:
            return await self._bucket.exists(cancel_marker(job.id))
        except Unavailable as error:
            log.warning("cannot look for a cancel marker", reason=error.message)
            return False

    def _expired(self, job: Job) -> JobExpired | None:
        expires: datetime | None = job.metadata.expires_at
        if expires is None or expires.timestamp() > self._now():
            return None
        return JobExpired(f"The job expired at {expires.isoformat()}.")


def _cancelled() -> JobCancelled:
    return JobCancelled("The job was cancelled.")
