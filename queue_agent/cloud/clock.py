"""The time of a cloud, learnt from the dates that its answers bear."""

import time
from collections.abc import Callable
from typing import Final

_BELIEVED: Final = 5.0
"""Seconds by which one answer may change what is known; more is believed when a second says so."""


class CloudClock:
    """Goes on by the monotonic clock, so that jumps of this machine's wall clock change nothing.

    Most dates tell whole seconds. What was the moment when a request was answered lies between the
    date and a second later; so each answer bounds by how much the clocks differ, and what is
    known is moved as little as fits. After a few answers it is right within a part of a second.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._ahead: float | None = None
        """Seconds by which the cloud's time is ahead of the monotonic clock."""
        self._doubted: float | None = None

    @property
    def knows(self) -> bool:
        """Whether an answer was dated yet."""
        return self._ahead is not None

    def now(self) -> float:
        """Seconds since the epoch, by the cloud where it has told its time."""
        return self._wall() if self._ahead is None else self._ahead + self._monotonic()

    def answered(self, date: float, *, asked: float, now: float, within: float = 1.0) -> None:
        """An answer came that is dated so, in seconds since the epoch.

        `asked` and `now` are the moments of its request and of this, by the monotonic clock. It
        was answered at the date or later, `within` so many seconds.
        """
        low, high = date - now, date + within - asked
        middle = min(low + within / 2, high)
        if self._ahead is None:
            self._ahead = middle
            return
        for known in (self._ahead, self._doubted):
            if known is None:
                continue
            found = min(max(known, low), high)
            if abs(found - known) <= _BELIEVED:
                self._ahead, self._doubted = found, None
                return
        self._doubted = middle
