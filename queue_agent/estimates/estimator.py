"""What publishers ask: what a job will take, by what agents have told in the bucket."""

from collections.abc import Callable
from typing import Final

from cachetools import LRUCache

from queue_agent.cloud import Backlog, Bucket
from queue_agent.estimates.exchange import read_seen
from queue_agent.estimates.fit import estimate_run
from queue_agent.estimates.promise import QueueAhead, promise
from queue_agent.estimates.runs import SeenRuns
from queue_agent.wire.estimate import JobEstimate
from queue_agent.wire.job import Job
from queue_agent.wire.work import work_of

_AGE: Final = 15.0
"""Seconds for which what was read holds."""
_RUNTIMES: Final = 64


class JobEstimator:
    """Reads what is known of each runtime every quarter of a minute at most."""

    def __init__(
        self,
        bucket: Bucket,
        *,
        now: Callable[[], float],
        job_seconds: float,
        pod_start: float,
    ) -> None:
        """`job_seconds` is what a job takes where nothing is known; `pod_start` from the wish for
        a pod to its first job. `now`: seconds since the epoch by the cloud's clock."""
        self._bucket = bucket
        self._now = now
        self._job_seconds = job_seconds
        self._pod_start = pod_start
        self._known: LRUCache[str, tuple[float, SeenRuns]] = LRUCache(_RUNTIMES)

    async def estimate(self, job: Job, backlog: Backlog | None) -> JobEstimate:
        """Of a job that is published now, where that is what its queue holds.

        Raises:
            Unavailable: the bucket refuses or does not answer.
        """
        now = self._now()
        seen = await self._seen(job.metadata.runtime or "", now)
        run = estimate_run(seen, work_of(job), usual=self._job_seconds)
        ahead = QueueAhead(backlog, seen.places(now), self._pod_start)
        return promise(run, seen, ahead, now)

    async def _seen(self, runtime: str, now: float) -> SeenRuns:
        read, seen = self._known.get(runtime, (float("-inf"), SeenRuns()))
        if not 0 <= now - read < _AGE:
            seen = await read_seen(self._bucket, runtime)
            self._known[runtime] = (now, seen)
        return seen


def with_estimate(job: Job, estimate: JobEstimate) -> Job:
    """The job, which says what was told of it."""
    told = estimate.model_dump(mode="json", exclude_none=True)
    metadata = job.metadata.model_copy(update={"estimate": told})
    return job.model_copy(update={"metadata": metadata})
