"""What must be asked for to be known: is the runtime ready, how long is the queue?"""

import asyncio
from dataclasses import dataclass

import structlog

from queue_agent.cloud import Queue
from queue_agent.telemetry.metrics import Metrics
from queue_agent.wire.errors import QueueAgentError
from queue_agent.worker.health import RuntimeHealth

log = structlog.get_logger()


@dataclass(frozen=True)
class GaugeSampler:
    """Asks every `interval` seconds."""

    queue: Queue
    health: RuntimeHealth
    metrics: Metrics
    interval: float = 15.0

    async def sample(self) -> None:
        """Ask, until cancelled."""
        while True:
            self.metrics.runtime_is((await self.health.check()).state)
            try:
                self.metrics.backlog(await self.queue.backlog())
            except QueueAgentError as error:
                log.debug("the queue's length is not known", reason=error.message)
            await asyncio.sleep(self.interval)
