"""Refusals of the cloud, heard: in the log, in the metrics and, when they last, in readiness.

Whoever makes a call may try again in silence: the ports are watched (`queue_agent.cloud.watched`).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from queue_agent.cloud.refusals import reason_of, remedy_of
from queue_agent.telemetry.metrics import Metrics
from queue_agent.wire.errors import Unavailable

log = structlog.get_logger()

_SAY_AGAIN: Final = 60.0
"""Seconds between two lines about the same reason of the same service."""
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
    count: int = 1
    said: bool = False


class CloudRefusals:
    """What a process hears of refusals; call it with each outcome (a `Watch`)."""

    def __init__(
        self, metrics: Metrics | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics or Metrics()
        self._clock = clock
        self._streaks: dict[str, _Streak] = {}
        self._said: dict[tuple[str, str], float] = {}
        self._unsaid: dict[tuple[str, str], int] = {}

    def __call__(self, operation: str, error: Unavailable | None) -> None:
        if error is not None:
            self._refused(operation, error)
        elif operation in self._streaks:
            self._answered(operation)

    def lasting(self) -> Mapping[str, Unavailable]:
        """The last refusal by service, of services that have refused what is needed for long."""
        now = self._clock()
        return {
            operation.partition(".")[0]: streak.error
            for operation, streak in self._streaks.items()
            if operation not in _DISPENSABLE
            and streak.latest - streak.began >= _LONG
            and now - streak.latest < _FORGET
        }

    def _refused(self, operation: str, error: Unavailable) -> None:
        now = self._clock()
        streak = self._streaks.get(operation)
        if streak is None or now - streak.latest >= _FORGET:
            streak = self._streaks[operation] = _Streak(now, now, error)
        else:
            streak.latest, streak.error, streak.count = now, error, streak.count + 1
        service, reason = operation.partition(".")[0], reason_of(error)
        self._metrics.cloud_refused(service, reason)
        key = service, reason
        self._unsaid[key] = self._unsaid.get(key, 0) + 1
        if now - self._said.get(key, float("-inf")) >= _SAY_AGAIN:
            self._said[key] = now
            streak.said = True
            log.warning(
                "cloud refuses",
                service=service,
                operation=operation.partition(".")[2],
                error=error.type,
                reason=error.message,
                remedy=remedy_of(error),
                refused=self._unsaid.pop(key),
            )

    def _answered(self, operation: str) -> None:
        streak = self._streaks.pop(operation)
        if streak.said:
            service, _, name = operation.partition(".")
            log.info(
                "cloud answers again",
                service=service,
                operation=name,
                refused=streak.count,
                seconds=round(self._clock() - streak.began, 1),
            )
