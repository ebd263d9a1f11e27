"""Spot or on demand for jobs with a deadline, where their runtime has a queue for each."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from queue_agent.cloud import Backlog, Cloud, Topic
from queue_agent.wire.capacity import CAPACITY_ATTRIBUTE, ON_DEMAND, SpotEstimate
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.job import Job
from queue_agent.wire.submission import placed

log = logging.getLogger(__name__)

_AGE: Final = 300.0
"""Seconds that what was found of the subscriptions holds."""
_BACKLOG_AGE: Final = 2.0
_PATIENCE: Final = 2.0
"""Seconds that looking may hold up a publication."""


class Capacity:
    """Looks at the topic's subscriptions, and at the spot queues' length where they are known.

    What may not be looked at is passed over: the job goes where jobs without the attribute go.
    """

    def __init__(
        self,
        cloud: Cloud,
        topic: Callable[[], Topic],
        spot: SpotEstimate,
        queues: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cloud = cloud
        self._topic = topic
        self._spot = spot
        self._queues = queues
        self._clock = clock
        self._both: dict[str, tuple[float, bool]] = {}
        self._asked = float("-inf")

    async def chosen(self, job: Job) -> Job:
        """The job, with its capacity where that is not spot."""
        runtime, metadata = job.metadata.runtime, job.metadata
        if metadata.deadline is None or metadata.capacity_type or runtime is None:
            return job
        try:
            async with asyncio.timeout(_PATIENCE):
                if not await self._has_both(runtime):
                    return job
                await self._look()
        except (QueueAgentError, TimeoutError) as error:
            log.debug("capacity not looked up: %s", error)
            _, known = self._both.get(runtime, (0.0, False))
            self._both[runtime] = (self._clock(), known)
            if not known:
                return job
        return placed(job, datetime.fromtimestamp(self._cloud.now(), UTC), self._spot)

    async def _has_both(self, runtime: str) -> bool:
        """Whether a queue of the runtime takes jobs for on demand only."""
        asked, both = self._both.get(runtime, (float("-inf"), False))
        if self._clock() - asked >= _AGE:
            routing = await self._topic().routing(CAPACITY_ATTRIBUTE, {"runtime": runtime})
            both = routing is not None and ON_DEMAND in routing.values
            self._both[runtime] = (self._clock(), both)
        return both

    async def _look(self) -> None:
        if not self._queues or self._clock() - self._asked < _BACKLOG_AGE:
            return
        backlog = await Backlog.of_all(map(self._cloud.queue, self._queues))
        self._asked = self._clock()
        self._spot = replace(self._spot, waiting=backlog.waiting, in_flight=backlog.in_flight)
