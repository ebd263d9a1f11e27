"""From a runtime's progress to `running` notifications, without holding up the run."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from queue_agent.errors import QueueAgentError
from queue_agent.runtime import Progress, ProgressCallback
from queue_agent.tasks import background

log = structlog.get_logger()


class ProgressRelay:
    """Passes the latest progress on, at most every `interval` seconds; failures are only logged."""

    def __init__(self, publish: Callable[[Progress], Awaitable[None]], *, interval: float) -> None:
        self._publish = publish
        self._interval = interval
        self._latest = Progress(0.0)
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def relaying(self) -> AsyncIterator[ProgressCallback]:
        """Relay while the block runs, beginning with progress 0; nothing is sent after it."""
        self._changed.set()
        async with background(self._relay()):
            yield self._report

    def _report(self, progress: Progress) -> None:
        self._latest = progress
        self._changed.set()

    async def _relay(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._publish(self._latest)
            except QueueAgentError as error:
                log.info("progress not published", reason=error.message)
            await asyncio.sleep(self._interval)
