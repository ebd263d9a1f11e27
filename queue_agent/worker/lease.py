"""Who may hold a message: heartbeat, release, acknowledge."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from queue_agent.cloud import Message, Queue
from queue_agent.tasks import background
from queue_agent.telemetry.metrics import Metrics
from queue_agent.wire.errors import LeaseLost, QueueAgentError, Unavailable
from queue_agent.worker.retry import retry_for

log = structlog.get_logger()

_RELEASE_PATIENCE = 5.0
_QUICK_BEAT = 1.0
_BREATH = 5.0
"""Seconds before a message is sent anew that comes again at once."""


class Lease:
    """The agent's right to one message for a while.

    A lost lease ends no work: the conditional write of the result lets one attempt win.
    """

    def __init__(
        self,
        queue: Queue,
        message: Message,
        *,
        duration: float,
        max_receives: int | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """`max_receives`: how often the message may be delivered; None: it does not matter."""
        self.message = message
        self._max_receives = max_receives
        self._later: float | None = None
        self._queue = queue
        self._duration = duration
        self._metrics = metrics or Metrics()
        self._ended = False

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Renew the lease while the block runs; cancelled work gives the message back.

        At once, or as `returns_in` has it.
        """
        try:
            async with background(self._keep()):
                yield
        except asyncio.CancelledError:
            if self._later is None or not await self.put_off(self._later):
                await self.release()
            raise

    def returns_in(self, seconds: float) -> None:
        """Note that the message is to come back then, if its work is cancelled."""
        self._later = seconds

    async def _keep(self) -> None:
        """Renew the lease each third of its duration, until cancelled or lost."""
        interval = self._duration / 3
        pause = interval
        while True:
            await asyncio.sleep(pause)
            try:
                await self._queue.extend(self.message, self._duration)
                self._metrics.heartbeat()
                pause = interval
            except LeaseLost as error:
                self._metrics.lease_lost()
                log.warning("lease lost", reason=error.message)
                return
            except Unavailable as error:
                log.warning("heartbeat failed", reason=error.message)
                pause = min(interval, _QUICK_BEAT)

    async def release(self, delay: float = 0.0) -> None:
        """Let others have the message `delay` seconds from now; never raises.

        If the queue cannot be told, the lease runs out by itself.
        """
        if self._ended:
            return
        self._ended = True
        try:
            async with asyncio.timeout(_RELEASE_PATIENCE):
                await self._queue.extend(self.message, delay)
        except (QueueAgentError, TimeoutError) as error:
            log.warning("release failed", reason=str(error))
        else:
            log.info("released", delay=round(delay, 2))

    async def put_off(self, seconds: float) -> bool:
        """Let the message come again after about so long, as if it had not been delivered.

        Nobody has worked on it. It is sent anew, with a delay where the queue has such, and then
        removed: in between it lies there twice, and is one job. A queue without delays counts
        deliveries, until half of them are used up; one that keeps an order until the last, lest
        the message go behind others of its group.

        False: it would be a dead letter then, and it is still held.
        """
        message = self.message
        delay = min(seconds, self._queue.longest_delay)
        if not delay and self._may_count:
            await self.release(seconds)
            return True
        try:
            if delay:
                await self._queue.send(
                    message.body, message.attributes, message.ordering, delay=delay
                )
            else:
                await asyncio.sleep(_BREATH)
                await self._queue.send(message.body, message.attributes, message.ordering)
        except Unavailable as error:
            log.warning("not sent anew", reason=error.message)
            if self._max_receives is not None and message.receive_count >= self._max_receives:
                return False
            await self.release(seconds)
            return True
        log.info("put off", seconds=round(seconds, 2))
        await self.acknowledge(patience=_RELEASE_PATIENCE)
        return True

    @property
    def _may_count(self) -> bool:
        """Whether one more delivery may be used up by a message that only waits."""
        if self._max_receives is None:
            return True
        count = self.message.receive_count
        keeps_order = self.message.group is not None
        return count < self._max_receives if keeps_order else count <= self._max_receives // 2

    async def acknowledge(self, *, patience: float) -> None:
        """Delete the message; never raises: its redelivery would only notify again."""
        if await self._ends(self._queue.delete, patience, "acknowledge failed"):
            log.debug("acknowledged")

    async def bury(self, *, patience: float) -> None:
        """Leave the message to the dead letters; never raises, for the same reason."""
        if await self._ends(self._queue.bury, patience, "dead letter not moved"):
            log.info("left to the dead letters")

    async def _ends(
        self, end: Callable[[Message], Awaitable[None]], patience: float, failure: str
    ) -> bool:
        """Whether the queue could be told; `failure` is logged with the reason otherwise."""
        try:
            await retry_for(patience, lambda: end(self.message))
        except QueueAgentError as error:
            if isinstance(error, LeaseLost):
                self._metrics.lease_lost()
            log.warning(failure, reason=error.message)
            told = False
        else:
            told = True
        self._ended = True
        return told
