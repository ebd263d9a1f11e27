"""Asks the queue, decides, and has the answer for KEDA."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from pydantic import JsonValue

from queue_agent.cloud import Backlog, Queue
from queue_agent.cloud.pauses import PausesMarker
from queue_agent.scaling.decision import QueuedWork, ScalingAim
from queue_agent.scaling.job_seconds import JobSeconds
from queue_agent.scaling.manifests import ManifestReader
from queue_agent.scaling.metrics import ScalerMetrics
from queue_agent.scaling.tracker import WorkTracker
from queue_agent.telemetry.logs import without_url_secrets
from queue_agent.wire.errors import QueueAgentError, Unavailable
from queue_agent.wire.pause import Pause

log = structlog.get_logger()

_STALE: Final = 30.0
"""Seconds after which what the queue said counts no longer: KEDA shall take the queue's length."""
_LEARN_EVERY: Final = 300.0


@dataclass(frozen=True, slots=True)
class Decision:
    """How many pods are wanted, and why."""

    pods: int
    work: QueuedWork
    by_kind: Mapping[str, float]
    """Seconds of a job, of the kinds that are known."""
    paused: Pause | None = None
    """Why what waits wants no pods."""

    def body(self) -> dict[str, JsonValue]:
        """The answer to KEDA, whose trigger reads `pods`, and to people."""
        work = self.work
        rate = None if work.load is None else round(work.load / work.job_seconds, 4)
        return {
            "pods": self.pods,
            "waiting": work.waiting,
            "in_flight": work.in_flight,
            "job_seconds": round(work.job_seconds, 3),
            "job_seconds_by_kind": {kind: round(it, 3) for kind, it in self.by_kind.items()},
            "load": None if work.load is None else round(work.load, 3),
            "jobs_per_second": rate,
            "paused": None if self.paused is None else str(self.paused),
        }


class Scaler:
    """Keeps a decision at hand. What it knows it learns anew from queue and bucket at a start."""

    def __init__(
        self,
        queues: Sequence[Queue],
        aim: ScalingAim,
        learned: JobSeconds,
        *,
        settle: float = 0.0,
        metrics: ScalerMetrics | None = None,
        pauses: PausesMarker | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`queues`: those of one runtime, whose pods serve them all.

        `settle`: for so many seconds it only looks: with no load it would ask for too few.
        `pauses`: what operators have paused, by the time that `now` tells; None: nothing ever is.
        """
        self._queues = queues
        self._settle = settle
        self._tracker = WorkTracker(aim)
        self._learned = learned
        self._metrics = metrics
        self._pauses = pauses
        self._now = now
        self._clock = clock
        self._decided: Decision | None = None
        self._decided_at = float("-inf")
        self._began: float | None = None
        self._missing = "The queue has not answered yet."

    async def keep(self, every: float) -> None:
        """Look so often, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(every)

    async def look(self) -> None:
        """Ask the queues and decide; what was decided before stands where one does not answer."""
        try:
            backlog = await Backlog.of_all(self._queues)
        except QueueAgentError as error:
            self._missing = error.message
            if self._metrics is not None:
                self._metrics.failed()
            return
        self._decide(backlog, await self._paused())

    async def _paused(self) -> Pause | None:
        """Why no agent takes messages; what cannot be looked at is as it was."""
        if self._pauses is None:
            return None
        try:
            await self._pauses.look()
        except QueueAgentError as error:
            log.debug("pauses are not seen", reason=error.message, type=error.type)
        return self._pauses.pauses.whole(self._now())

    def _decide(self, backlog: Backlog, paused: Pause | None) -> None:
        now, seconds = self._clock(), self._learned.mean
        self._began = now if self._began is None else self._began
        before = 0 if self._decided is None else self._decided.pods
        work = self._tracker.look(now, backlog.waiting, backlog.in_flight, seconds)
        pods, by_kind = self._tracker.pods, self._learned.by_kind
        if paused is not None:  # what runs ends, and nothing else begins
            pods = min(pods, backlog.in_flight)
        if pods != before:
            log.info("pods wanted", pods=pods, before=before, waiting=work.waiting, load=work.load)
        self._decided, self._decided_at = Decision(pods, work, by_kind, paused), now
        if self._metrics is not None:
            self._metrics.decided(pods, work, by_kind)

    def answer(self) -> tuple[int, Mapping[str, JsonValue]]:
        """Status and body for KEDA: 503 at first, and where the queue does not answer.

        KEDA then keeps the pods that there are, and asks for more by the queue's length.
        """
        if (missing := self._why_not()) is not None or self._decided is None:
            return 503, {"error": without_url_secrets(missing or "")}
        return 200, self._decided.body()

    def _why_not(self) -> str | None:
        now = self._clock()
        if self._began is None or now - self._decided_at > _STALE:
            return self._missing
        if now - self._began < self._settle:
            return "How much work comes is not known yet."
        return None

    async def state(self) -> Mapping[str, str | None]:
        """For readiness: an answer is there, or why not."""
        return {"answer": self._why_not()}


async def keep_learning(reader: ManifestReader, every: float = _LEARN_EVERY) -> None:
    """Learn from the bucket so often, until cancelled; what fails is tried again."""
    while True:
        try:
            learned = await reader.look()
            log.debug("learned from manifests", jobs=learned)
        except Unavailable as error:
            log.debug("what jobs take is not learned", reason=error.message, type=error.type)
        await asyncio.sleep(every)
