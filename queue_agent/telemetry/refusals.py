"""Refusals of the cloud, heard: in the log, in the metrics and, when they last, in readiness.

Whoever makes a call may try again in silence: the ports are watched (`queue_agent.cloud.watched`).
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from queue_agent.cloud.refusals import reason_of, remedy_of
from queue_agent.telemetry.metrics import Metrics
from queue_agent.telemetry.outages import Outages
from queue_agent.wire.errors import Unavailable

log = structlog.get_logger()

_LONG: Final = 30.0
"""Seconds of nothing but refusals, after which an operation counts as not there."""
_FORGET: Final = 300.0
"""Seconds after which a refusal says nothing any more, if nobody has asked again."""
_DISPENSABLE: Final = frozenset(
    {"queue.policy", "queue.backlog", "topic.check", "bucket.keys", "bucket.listing"}
)
"""What there is another way for."""


@dataclass
class _Streak:
    """Refusals of one operation, with no success between them."""

    began: float
    latest: float
    error: Unavailable


class CloudRefusals:
    """What a process hears of refusals; call it with each outcome (a `Watch`)."""

    def __init__(
        self, metrics: Metrics | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics or Metrics()
        self._clock = clock
        self._streaks: dict[str, _Streak] = {}
        self._outages: dict[str, Outages] = defaultdict(lambda: Outages(clock))

    def __call__(self, operation: str, error: Unavailable | None) -> None:
        if error is not None:
            self._refused(operation, error)
        elif operation in self._streaks:
            self._answered(operation)

    def lasting(self) -> Mapping[str, Unavailable]:
        """The last refusal by service, of services that have refused what is needed for long.

        One of several queues is called ``queue:NAME`` where calls are watched; here any is `queue`.
        """
        now = self._clock()
        return {
            _kind(operation.partition(".")[0]): streak.error
            for operation, streak in self._streaks.items()
            if _kind(operation) not in _DISPENSABLE
            and streak.latest - streak.began >= _LONG
            and now - streak.latest < _FORGET
        }

    def _refused(self, operation: str, error: Unavailable) -> None:
        now = self._clock()
        streak = self._streaks.get(operation)
        if streak is None or now - streak.latest >= _FORGET:
            self._streaks[operation] = _Streak(now, now, error)
        else:
            streak.latest, streak.error = now, error
        service, _, name = operation.partition(".")
        reason = reason_of(error)
        self._metrics.cloud_refused(_kind(service), reason)
        if due := self._outages[service].failed(reason, name):
            log.warning(
                "cloud refuses",
                service=service,
                operation=name,
                error=error.type,
                reason=error.message,
                remedy=remedy_of(error),
                refused=due.failures,
                seconds=due.seconds,
            )

    def _answered(self, operation: str) -> None:
        del self._streaks[operation]
        service, _, name = operation.partition(".")
        if over := self._outages[service].works(name):
            log.info(
                "cloud answers again",
                service=service,
                operation=name,
                refused=over.failures,
                seconds=over.seconds,
            )


def _kind(watched: str) -> str:
    """A service, or an operation of one, whichever of several queues it is."""
    service, dot, operation = watched.partition(".")
    return f"{service.partition(':')[0]}{dot}{operation}"
