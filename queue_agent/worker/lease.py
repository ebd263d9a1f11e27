"""Who may hold a message: heartbeat, release, acknowledge."""

import asyncio
from collections.abc import AsyncIterator
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


class Lease:
    """The agent's right to one message for a while.

    A lost lease ends no work: the conditional write of the result lets one attempt win.
    """

    def __init__(
        self, queue: Queue, message: Message, *, duration: float, metrics: Metrics | None = None
    ) -> None:
        self.message = message
        self._queue = queue
        self._duration = duration
        self._metrics = metrics or Metrics()
        self._ended = False

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Renew the lease while the block runs; cancelled work gives the message back at once."""
        try:
            async with background(self._keep()):
                yield
        except asyncio.CancelledError:
            await self.release()
            raise

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

    async def acknowledge(self, *, patience: float) -> None:
        """Delete the message; never raises: its redelivery would only notify again."""
        try:
            await retry_for(patience, lambda: self._queue.delete(self.message))
        except QueueAgentError as error:
            if isinstance(error, LeaseLost):
                self._metrics.lease_lost()
            log.warning("acknowledge failed", reason=error.message)
        else:
            log.debug("acknowledged")
        self._ended = True
