"""Messages that ask for nothing: said once, and then at most once a minute, by kind."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from queue_agent.wire.foreign import ForeignKind

log = structlog.get_logger()

_PAUSE: Final = 60.0

_LOOP: Final = (
    "The queue hears of what agents write. Let its topic's filter, or another topic, keep "
    "notifications from it; `queue-agent check` looks for the subscription."
)
_REASONS: Final[Mapping[str, str]] = {
    ForeignKind.NOTIFICATION: _LOOP,
    ForeignKind.RESULT: _LOOP,
    ForeignKind.QUARANTINE: _LOOP,
    ForeignKind.STORAGE_EVENT: "A bucket tells the queue of its objects. Let its events go to "
    "another queue; jobs are published, not uploaded.",
    ForeignKind.SUBSCRIPTION: "A topic asks to confirm its subscription, which agents do not; "
    "confirm it yourself if it is yours.",
    ForeignKind.TEST_EVENT: "A service tried whether its events reach the queue; its events are "
    "no jobs.",
}


class IgnoredMessages:
    """Logs what is acknowledged without an answer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._silent_until: dict[str, float] = {}
        self._unsaid: Counter[str] = Counter()

    def note(self, kind: str) -> None:
        """One message of the kind was ignored."""
        self._unsaid[kind] += 1
        now = self._clock()
        if now < self._silent_until.get(kind, float("-inf")):
            return
        self._silent_until[kind] = now + _PAUSE
        log.error(
            "messages ignored", kind=kind, count=self._unsaid.pop(kind), reason=_REASONS[kind]
        )
