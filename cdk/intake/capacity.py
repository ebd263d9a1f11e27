"""Spot or on demand, by the length of the spot queue that the SDK tells."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from queue_agent.wire.capacity import SpotEstimate
from queue_agent.wire.job import Job
from queue_agent.wire.submission import placed

log = logging.getLogger()

_AGE: Final = 5.0
"""Seconds that what a queue said of itself holds."""
_WAITING: Final = "ApproximateNumberOfMessages"
_IN_FLIGHT: Final = "ApproximateNumberOfMessagesNotVisible"


@dataclass(frozen=True)
class SpotRuntime:
    """One that has queues for spot and for on demand."""

    estimate: SpotEstimate
    queues: Mapping[str, str]
    """URLs of those for spot, by priority; the usual one's is empty."""


class CapacityChoice:
    """Chooses for jobs with a deadline; a queue that cannot be asked counts as empty."""

    def __init__(
        self,
        runtimes: Mapping[str, SpotRuntime],
        region: str,
        clients: Callable[..., Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clients` makes one by the service's name and the region."""
        self._runtimes = runtimes
        self._region = region
        self._clients = clients
        self._clock = clock
        self._sqs: Any = None
        self._seen: dict[str, tuple[float, int, int]] = {}

    def chosen(self, job: Job) -> Job:
        """The job, with its capacity where that is not spot."""
        runtime = self._runtimes.get(job.metadata.runtime or "")
        if runtime is None or job.metadata.deadline is None or job.metadata.capacity_type:
            return job
        queues = runtime.queues
        url = queues.get(job.metadata.priority or "", queues[""])
        waiting, in_flight = self._backlog(url)
        spot = replace(runtime.estimate, waiting=waiting, in_flight=in_flight)
        return placed(job, datetime.now(UTC), spot)

    def _backlog(self, url: str) -> tuple[int, int]:
        asked, waiting, in_flight = self._seen.get(url, (float("-inf"), 0, 0))
        if self._clock() - asked >= _AGE:
            try:
                self._sqs = self._sqs or self._clients("sqs", self._region)
                found = self._sqs.get_queue_attributes(
                    QueueUrl=url, AttributeNames=[_WAITING, _IN_FLIGHT]
                )["Attributes"]
                waiting, in_flight = int(found[_WAITING]), int(found[_IN_FLIGHT])
            except (BotoCoreError, ClientError):
                log.warning("spot queue not seen", exc_info=True)
                waiting = in_flight = 0
            self._seen[url] = (self._clock(), waiting, in_flight)
        return waiting, in_flight
