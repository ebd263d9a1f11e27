"""What must be asked for to be known: is the runtime ready, how long are the queues?"""

import asyncio
from collections.abc import Mapping
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

    queues: Mapping[str, Queue]
    health: RuntimeHealth
    metrics: Metrics
    interval: float = 15.0

    async def sample(self) -> None:
        """Ask, until cancelled."""
        while True:
            self.metrics.runtime_is((await self.health.check()).state)
            for name, queue in self.queues.items():
                try:
                    self.metrics.backlog(await queue.backlog(), queue=name)
                except QueueAgentError as error:
                    log.debug("the queue's length is not known", queue=name, reason=error.message)
            await asyncio.sleep(self.interval)
