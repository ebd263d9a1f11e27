"""What an agent knows of its runtime: by asking it, and by how its runs ended."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from queue_agent.runtime import Readiness, Runtime
from queue_agent.wire.errors import QueueAgentError, RunLost, RuntimeAway, RuntimeSick, RuntimeStuck

log = structlog.get_logger()

_POLL: Final = 1.0
"""Seconds between two questions to a runtime that is not ready, and for which a yes holds."""


@dataclass
class RuntimeHealth:
    """One runtime's, for all who must know it."""

    runtime: Runtime
    clock: Callable[[], float] = time.monotonic
    _mark: Readiness | None = field(default=None, init=False)
    """What a run has shown that the runtime does not say of itself."""
    _ready_at: float = field(default=float("-inf"), init=False)

    async def check(self) -> Readiness:
        """Ask the runtime. One that has been away is another: what was known of it is forgotten."""
        readiness = Readiness.of(await self.runtime.ready())
        if readiness.state == "away":
            self._mark = None
        return readiness if self._mark is None else self._mark

    async def until_ready(self) -> None:
        """Wait until the runtime is ready; a yes holds for a second, unless a run failed since."""
        if self.clock() < self._ready_at + _POLL:
            return
        told: Readiness | None = None
        while not (readiness := await self.check()):
            if readiness != told:
                log.warning(
                    "waiting for the runtime", state=readiness.state, reason=readiness.reason
                )
                told = readiness
            await asyncio.sleep(_POLL)
        if told is not None or self._ready_at == float("-inf"):
            log.info("runtime ready")
        self._ready_at = self.clock()

    def failed(self, error: QueueAgentError) -> None:
        """A run ended so: what it says of the runtime."""
        if isinstance(error, RuntimeSick | RuntimeStuck):
            sick = isinstance(error, RuntimeSick)
            self._mark = Readiness("sick" if sick else "stuck", error.message)
        elif not isinstance(error, RuntimeAway | RunLost):
            return
        self._ready_at = min(self._ready_at, self.clock() - _POLL)


def missing(readiness: Readiness) -> str | None:
    """What a probe is told: None of a runtime that is ready, else why it is not."""
    return None if readiness else f"{readiness.state}: {readiness.reason}".removesuffix(": ")
