"""Jobs for other runtimes: said once, and then at most once a minute with their number."""

import time
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger()

_PAUSE: Final = 60.0
_MOST_NAMES: Final = 20
_REASON: Final = (
    "The queue gets jobs for other runtimes; each is answered as failed (wrong_runtime)."
)
_REMEDY: Final = (
    "If the agent has the wrong name, set QUEUE_AGENT_RUNTIME_NAME. Else let the queue get jobs "
    "for {0} alone: on AWS the filter policy of its subscription asks for "
    '{{"runtime": ["{0}"]}}, on NATS its address ends with /{0}.'
)


def remedy_for(served: str) -> str:
    """What to do where an agent that serves this runtime gets jobs for others."""
    return _REMEDY.format(served)


class MisroutedJobs:
    """Logs what comes to an agent that serves another runtime."""

    def __init__(self, served: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._served = served
        self._clock = clock
        self._silent_until = float("-inf")
        self._count = 0
        self._names: set[str] = set()

    def note(self, runtime: str) -> None:
        """One job for that runtime was refused."""
        self._count += 1
        if len(self._names) < _MOST_NAMES:
            self._names.add(runtime)
        now = self._clock()
        if now < self._silent_until:
            return
        self._silent_until = now + _PAUSE
        log.warning(
            "jobs for other runtimes",
            runtimes=sorted(self._names),
            served=self._served,
            count=self._count,
            reason=f"{_REASON} {remedy_for(self._served)}",
        )
        self._count = 0
        self._names.clear()
