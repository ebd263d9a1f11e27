"""What goes on: depth of the queues, recent ends, and estimates made from both."""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import structlog

from queue_agent.cloud import Backlog, Cloud
from queue_agent.gateway.agents import LoadedModels
from queue_agent.gateway.offers import Offers
from queue_agent.gateway.pauses import KnownPauses
from queue_agent.gateway.schemas import LoadedModel, QueueEstimate, QueueState, RuntimeState
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.model_files import plain_model_name
from queue_agent.wire.notification import Notification
from queue_agent.wire.offer import Offer

log = structlog.get_logger()

_BACKLOG_AGE: Final = 2.0
_ENDS_REMEMBERED: Final = 2_000
_DURATIONS: Final = 20
_SPAN: Final = 10.0
"""Seconds of one value of the throughput."""
_SPANS: Final = 60


class Statistics:
    """Of each runtime: its queues, as far as known, and the ends heard of since the start."""

    def __init__(
        self,
        cloud: Cloud,
        queues: Mapping[str, Sequence[str]],
        offers: Offers,
        pauses: KnownPauses,
        loaded: LoadedModels,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cloud = cloud
        self._queues = queues
        self.offers = offers
        self.pauses = pauses
        self._loaded = loaded
        self._now = now
        self._ends: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_ENDS_REMEMBERED))
        self._durations: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_DURATIONS))
        self._backlogs: dict[str, tuple[float, Backlog | None]] = {}
        self._asking: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def note(self, notification: Notification) -> None:
        """Count an end."""
        if notification.status == "running" or notification.redelivered:
            return
        if notification.runtime in self._queues:
            self._ends[notification.runtime].append(self._now())
            if notification.result:
                self._durations[notification.runtime].append(notification.timings.run)

    async def ahead(self, runtime: str) -> int | None:
        """How many jobs its queues hold, if they can be asked."""
        backlog = await self.backlog(runtime)
        return None if backlog is None else backlog.waiting + backlog.in_flight

    async def estimate(
        self, runtime: str, submitted_at: datetime, ahead: int | None
    ) -> QueueEstimate | None:
        """Where a waiting job stands, if the queue can be asked.

        What was ahead of it when it came, less what has ended since, and never more than the
        queue holds now. Runs are taken to be as long as the recent ones were.
        """
        backlog = await self.backlog(runtime)
        if backlog is None:
            return None
        held = max(0, backlog.waiting + backlog.in_flight - 1)
        since = submitted_at.timestamp()
        ended = sum(moment >= since for moment in self._ends[runtime])
        position = held if ahead is None else min(held, max(0, ahead - ended))
        pace = self.seconds_per_job(runtime)
        seconds = None
        if pace is not None:
            seconds = round(pace * (position + 1) / max(1, min(backlog.in_flight, position + 1)), 1)
        return QueueEstimate(position=position, estimated_seconds=seconds)

    async def states(self) -> list[RuntimeState]:
        """Every runtime's state."""
        return [await self._state(name) for name in self._queues]

    async def _state(self, runtime: str) -> RuntimeState:
        backlog = await self.backlog(runtime)
        offer = await self.offers.of(runtime)
        return RuntimeState(
            name=runtime,
            queue=backlog and QueueState(waiting=backlog.waiting, in_flight=backlog.in_flight),
            seconds_per_job=self.seconds_per_job(runtime),
            throughput=self._throughput(runtime),
            throughput_seconds=_SPAN,
            adapter=offer.adapter,
            task_types=offer.task_types,
            workflows=offer.workflows,
            capabilities=offer.capabilities,
            loaded=_as_offered(await self._loaded.of(runtime), offer),
            shortened=offer.shortened,
            paused=await self.pauses.told(runtime),
        )

    def seconds_per_job(self, runtime: str) -> float | None:
        """How long the recent runs took; None where none was heard of."""
        durations = self._durations[runtime]
        return round(sum(durations) / len(durations), 3) if durations else None

    def _throughput(self, runtime: str) -> list[int]:
        counts = [0] * _SPANS
        now = self._now()
        for moment in self._ends[runtime]:
            place = int((now - moment) // _SPAN)
            if 0 <= place < _SPANS:
                counts[-1 - place] += 1
        return counts

    async def backlog(self, runtime: str) -> Backlog | None:
        """What its queues hold, as of two seconds ago at most; None: they cannot all be asked."""
        urls = self._queues.get(runtime)
        if not urls:
            return None
        async with self._asking[runtime]:
            asked, backlog = self._backlogs.get(runtime, (float("-inf"), None))
            if time.monotonic() - asked < _BACKLOG_AGE:
                return backlog
            try:
                backlog = await Backlog.of_all(map(self._cloud.queue, urls))
            except QueueAgentError as error:
                log.debug("queue depth unknown", runtime=runtime, reason=error.message)
                backlog = None
            self._backlogs[runtime] = (time.monotonic(), backlog)
            return backlog


def _as_offered(loaded: Iterable[LoadedModel], offer: Offer) -> tuple[LoadedModel, ...]:
    """The same by the names that the runtime's list has."""
    names = {plain_model_name(model.name): model.name for model in offer.models or ()}
    return tuple(
        one.model_copy(update={"model": names.get(one.model, one.model)}) for one in loaded
    )
