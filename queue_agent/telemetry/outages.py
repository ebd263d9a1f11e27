"""What does not work, said in few lines: at once, then seldom, and when it works again.

Whoever tries again and again tells each outcome, and logs what it is handed back.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

_REMIND: Final = 300.0
"""Seconds between two lines about what goes on not working."""
_SAY_AGAIN: Final = 60.0
"""Seconds between two lines about the same where it worked meanwhile, or something else failed."""
FORGET: Final = 600.0
"""Seconds after which a failure says nothing any more, if nobody has tried again."""


class Due(NamedTuple):
    """A line to be logged about a failure."""

    failures: int
    """For this reason, since the last such line."""
    seconds: float
    """Since the first one."""


class Over(NamedTuple):
    """An outage that was logged, and is over."""

    failures: int
    seconds: float


@dataclass
class _Outage:
    began: float
    latest: float
    count: int = 0
    said: set[str] = field(default_factory=set)


class Outages:
    """Of several operations that belong together, or of one alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._outages: dict[str, _Outage] = {}
        self._said: dict[str, tuple[float, str]] = {}
        self._unsaid: dict[str, int] = {}

    def failed(self, reason: str, operation: str = "", *, words: str = "") -> Due | None:
        """Note a failure; not None if it is to be logged.

        The same reason, of which there should be few, is said seldom, whichever operations fail
        for it; somewhat sooner if its `words` are others than those that were said.
        """
        now = self._clock()
        outage = self._outages.get(operation)
        if outage is None or now - outage.latest >= FORGET:
            outage = self._outages[operation] = _Outage(now, now)
        outage.latest, outage.count = now, outage.count + 1
        self._unsaid[reason] = self._unsaid.get(reason, 0) + 1
        said_at, said = self._said.get(reason, (float("-inf"), ""))
        goes_on = said == words and any(reason in one.said for one in self._outages.values())
        if now - said_at < (_REMIND if goes_on else _SAY_AGAIN):
            return None
        self._said[reason] = now, words
        outage.said.add(reason)
        return Due(self._unsaid.pop(reason), round(now - outage.began, 1))

    def works(self, operation: str = "") -> Over | None:
        """Note a success; not None if it is to be logged, since the failures were."""
        outage = self._outages.pop(operation, None)
        if outage is None or not outage.said:
            return None
        return Over(outage.count, round(self._clock() - outage.began, 1))
