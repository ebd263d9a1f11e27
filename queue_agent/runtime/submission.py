"""Before and after a job is handed over, what a runtime that goes away means for it.

with not_yet_submitted():
    place = await self._ask("GET", "/queue")
await self._send(job)
with submitted():
    while not (status := await self._ask("GET", f"/jobs/{id}")).done: ...
"""

from collections.abc import Iterator
from contextlib import contextmanager

from queue_agent.wire.errors import RunLost, RuntimeAway

__all__ = ["not_yet_submitted", "submitted"]


@contextmanager
def not_yet_submitted() -> Iterator[None]:
    """The runtime has not had the job: a connection that breaks means that it is away.

    Raises:
        RuntimeAway: in the place of `RunLost`.
    """
    try:
        yield
    except RunLost as error:
        raise RuntimeAway(error.message, type=error.type, details=error.details) from error


@contextmanager
def submitted() -> Iterator[None]:
    """The runtime has the job: that it cannot be reached means that the run is lost.

    Raises:
        RunLost: in the place of `RuntimeAway`.
    """
    try:
        yield
    except RuntimeAway as error:
        raise RunLost(error.message, type=error.type, details=error.details) from error
