"""How often messages are kept and answered that name no job: seldom enough to feed no storm."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

LONGEST_WAIT: Final = 10.0
"""Seconds that a message waits under its lease; beyond that it is given back."""
_LONGEST_DELAY: Final = 900.0


@dataclass
class AnswerRate:
    """So many at once, then so many a second, of one agent; the others wait for their turn.

    A turn that is soon is waited for; the message of a later one is given back until about then.
    """

    burst: int
    per_second: float
    clock: Callable[[], float] = time.monotonic
    _next: float = field(default=float("-inf"), init=False)
    """When the turn is due of the next message, were none left of the burst."""
    _back: float = field(default=float("-inf"), init=False)
    """When the message is to be back that was given back last."""

    def turn(self) -> float | None:
        """Take a turn, and say in how many seconds it is; None: it would be too late."""
        now = self.clock()
        earliest = max(self._next, now - (self.burst - 1) / self.per_second)
        if earliest - now > LONGEST_WAIT:
            return None
        self._next = earliest + 1 / self.per_second
        return max(0.0, earliest - now)

    def later(self) -> float:
        """In how many seconds a message may come again that got no turn."""
        now = self.clock()
        self._back = max(self._back, self._next, now) + 1 / self.per_second
        return min(_LONGEST_DELAY, self._back - now)
