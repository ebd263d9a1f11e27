"""Learning what jobs take, from those that this agent ran, and telling it in the bucket."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from queue_agent.cloud import Bucket
from queue_agent.estimates.exchange import add_seen
from queue_agent.estimates.runs import SeenAgent, SeenRun, SeenRuns
from queue_agent.runtime import Runtime
from queue_agent.tasks import background
from queue_agent.telemetry.outages import Outages
from queue_agent.wire.errors import QueueAgentError
from queue_agent.worker.delivery import Delivery
from queue_agent.worker.surprises import no_surprises

log = structlog.get_logger()

_SOON: Final = 10.0
"""Seconds after the first run until it is told of."""
_EVERY: Final = 60.0
"""Seconds between two writes of one agent, and at least one for each agent that there is."""
_LAST_WORDS: Final = 2.0
"""Seconds that the end of an agent may be held up by."""


@dataclass
class RunLearning:
    """Of one agent. Where nothing can be written, that is logged, and jobs are done all the same.

    It also says that the agent is there, from when its runtime is ready.
    """

    bucket: Bucket | None
    """None: nothing is told."""
    name: str
    """Of the runtime."""
    agent: str
    """What no other agent of the runtime is called."""
    runtime: Runtime
    price: float | None = None
    """Of an hour of the GPU."""
    now: Callable[[], float] = time.time
    _fresh: SeenRuns = field(default_factory=SeenRuns, init=False)
    """What is not written yet."""
    _outages: Outages = field(default_factory=Outages, init=False)
    _has_told: bool = field(default=False, init=False)
    _first: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def ran(self, delivery: Delivery) -> None:
        """A job's run went well."""
        slot = delivery.slot
        if self.bucket is None or not (slot.ran > 0 and slot.used > 0):
            return
        try:
            with no_surprises():
                work = self.runtime.work(delivery.job)
        except QueueAgentError as error:
            log.debug("work not known", reason=error.message)
            return
        run = SeenRun(
            at=round(self.now(), 1),
            amount=None if work.amount is None else round(work.amount, 4),
            megapixels=round(work.megapixels, 4),
            count=work.count,
            seconds=round(slot.ran, 4) or slot.ran,
            gpu_seconds=round(min(slot.used, slot.ran), 4) or slot.ran,
            price=self.price,
            loads=None if slot.may_load else slot.lack == "model",
        )
        self._fresh = self._fresh.merged(SeenRuns.of(work, run))
        self._first.set()

    @asynccontextmanager
    async def keeping(self, started: asyncio.Event) -> AsyncIterator[None]:
        """Tell for the block what is learned, and at its end that the agent goes.

        `started` is set once the runtime is ready.
        """
        if self.bucket is None:
            yield
            return
        try:
            async with background(self._keep(self.bucket, started)):
                yield
        finally:
            if self._has_told or self._first.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_WORDS):
                        await self._tell(self.bucket, leaving=True)

    async def _keep(self, bucket: Bucket, started: asyncio.Event) -> None:
        await started.wait()
        pause = await self._tell(bucket)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._first.wait()
                await asyncio.sleep(_SOON)
        while True:
            pause = await self._tell(bucket)
            await asyncio.sleep(pause)

    async def _tell(self, bucket: Bucket, *, leaving: bool = False) -> float:
        """Write what is new; seconds until it is time again."""
        fresh, self._fresh = self._fresh, SeenRuns()

        def added(known: SeenRuns) -> SeenRuns:
            if leaving:
                return known.merged(fresh).without(self.agent)
            here = SeenAgent(at=round(self.now(), 1), places=self.runtime.concurrency)
            return known.merged(fresh).seen_by(self.agent, here)

        try:
            with no_surprises():
                known = await add_seen(bucket, self.name, added)
        except QueueAgentError as error:
            self._fresh = self._fresh.merged(fresh)
            if due := self._outages.failed(error.type):
                log.warning(
                    "not told what jobs took",
                    reason=error.message,
                    type=error.type,
                    **due._asdict(),
                )
            return _EVERY
        self._has_told = True
        if over := self._outages.works():
            log.info("told what jobs took", **over._asdict())
        return max(_EVERY, float(len(known.agents)))
