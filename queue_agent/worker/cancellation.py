"""Jobs that nobody wants any more: cancelled by a marker in the bucket, or expired."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import structlog

from queue_agent.cloud import Bucket
from queue_agent.tasks import background
from queue_agent.wire.errors import JobCancelled, JobExpired, Unavailable, Unwanted
from queue_agent.wire.job import Job
from queue_agent.worker.cancel_markers import CancelMarkers, Look

log = structlog.get_logger()

_CANCELLED = "The job was cancelled."
_EXPIRY_POLL = 1.0
_SHORTEST_PAUSE = 0.001
_LONGEST_PAUSE = 3600.0
_MARKERS_FRESHNESS = 1.0
"""Seconds; a marker that a job is older than is found by its first look."""


class CancellationWatch:
    """Looks whether jobs are still wanted, at once and then every `poll` seconds.

    A job's first look is shared with others, and up to a second old, unless `poll` is shorter.
    A marker written later is noticed within `poll` seconds, by looks shared likewise. With a
    `poll` of 0 each job looks once, for itself.
    """

    def __init__(
        self,
        bucket: Bucket,
        *,
        poll: float,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`now` tells the time by which jobs expire, `clock` what passes between looks."""
        freshness = min(_MARKERS_FRESHNESS, poll)
        self._markers = CancelMarkers(bucket, freshness=freshness, now=clock)
        self._clock = clock
        self._poll = poll
        self._now = now

    @asynccontextmanager
    async def wanted(self, job: Job) -> AsyncIterator[None]:
        """A block that ends with `JobCancelled` or `JobExpired` once nobody wants the job."""
        reason: Unwanted | None = self._expired(job)
        if reason is not None:
            raise reason
        try:
            async with asyncio.timeout(None) as scope:

                async def watch() -> None:
                    nonlocal reason
                    reason = await self._unwanted(job)
                    scope.reschedule(asyncio.get_running_loop().time())

                async with background(watch()):
                    yield
        except TimeoutError:
            if scope.expired() and reason is not None:
                raise reason from None
            raise

    async def check(self, job: Job) -> None:
        """Look once; raises `JobCancelled` where there is a marker."""
        if (await self._look(job)).cancelled:
            raise JobCancelled(_CANCELLED)

    async def _unwanted(self, job: Job) -> Unwanted:
        """Wait until nobody wants the job any more; the reason."""
        next_look = float("-inf")
        while True:
            if self._clock() >= next_look:
                look = await self._look(job)
                if look.cancelled:
                    return JobCancelled(_CANCELLED)
                next_look = look.began + self._poll if self._poll else float("inf")
            if (expired := self._expired(job)) is not None:
                return expired
            await asyncio.sleep(self._pause(job, next_look))

    async def _look(self, job: Job) -> Look:
        try:
            return await self._markers.look(job.id)
        except Unavailable as error:
            log.debug("cannot look for a cancel marker", reason=error.message)
            return Look(cancelled=False, began=self._clock())

    def _pause(self, job: Job, next_look: float) -> float:
        """Seconds until there is something to see."""
        pause = min(_LONGEST_PAUSE, next_look - self._clock())
        if (expires := job.metadata.expires_at) is not None:
            # what is learnt anew of the cloud's clock counts within the pause
            pause = min(pause, _EXPIRY_POLL, expires.timestamp() - self._now())
        return max(_SHORTEST_PAUSE, pause)

    def _expired(self, job: Job) -> JobExpired | None:
        expires: datetime | None = job.metadata.expires_at
        if expires is None or expires.timestamp() > self._now():
            return None
        return JobExpired(f"The job expired at {expires.isoformat()}.")
