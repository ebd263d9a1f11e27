"""A runtime's progress: to `running` notifications and spans, without holding up the run."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
from opentelemetry import trace
from opentelemetry.util.types import AttributeValue

from queue_agent.runtime import Progress, ProgressCallback
from queue_agent.tasks import background
from queue_agent.wire.errors import QueueAgentError

log = structlog.get_logger()

_PROGRESS_STEP: Final = 0.2
"""Share of a run between two events of a span; each has its cost."""


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

    def repeat(self) -> None:
        """Pass the latest on once more, since something beside it has changed."""
        self._changed.set()

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


def noting(report: ProgressCallback) -> ProgressCallback:
    """A callback that also notes the progress as events of the current span."""
    span = trace.get_current_span()
    if not span.is_recording():
        return report
    noted = 0.0

    def note(progress: Progress) -> None:
        nonlocal noted
        if progress.fraction >= noted + _PROGRESS_STEP:
            noted = progress.fraction
            span.add_event("progress", _told(progress))
        report(progress)

    return note


def _told(progress: Progress) -> dict[str, AttributeValue]:
    told = {"step": progress.step, "steps": progress.steps, "node": progress.node}
    return {
        "fraction": progress.fraction,
        **{name: value for name, value in told.items() if value is not None},
    }
