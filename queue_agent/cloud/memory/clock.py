"""The time of a cloud in memory: the system's, or one that goes on when a test says so."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A call to come."""

    def cancel(self) -> None:
        """Let it not happen; one that has happened is no error."""


class Clock(ABC):
    """Where a cloud in memory has its time from. Durations are in seconds."""

    @abstractmethod
    def now(self) -> float:
        """Seconds since the epoch."""

    @abstractmethod
    def call_at(self, moment: float, callback: Callable[[], None]) -> Timer:
        """Call back when `now` has reached the moment; needs a running event loop."""

    async def sleep(self, seconds: float) -> None:
        """Return when so much time has passed."""
        over = asyncio.Event()
        timer = self.call_at(self.now() + seconds, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()


class SystemClock(Clock):
    """The time of the machine."""

    def now(self) -> float:
        return time.time()

    def call_at(self, moment: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(max(0.0, moment - time.time()), callback)


class ManualClock(Clock):
    """Stands still until `advance` is called; whoever waits for a moment is then woken.

    A task must wait before the clock goes on, or it waits from the new time: see `waited_for`.
    """

    def __init__(self, start: float = 1_767_225_600.0) -> None:
        """`start` is in seconds since the epoch; the first moment of 2026 unless given."""
        self._now = start
        self._timers: list[_ManualTimer] = []
        self._waited_for = asyncio.Event()

    def now(self) -> float:
        return self._now

    def call_at(self, moment: float, callback: Callable[[], None]) -> Timer:
        if moment <= self._now:
            return asyncio.get_running_loop().call_soon(callback)
        timer = _ManualTimer(moment, callback, self._timers)
        self._timers.append(timer)
        self._waited_for.set()
        return timer

    def advance(self, seconds: float) -> None:
        """Go on by so much; calls that fall due happen in their order, each at its moment.

        Tasks that they wake run later, when the caller gives way, and all find the new time.
        """
        end = self._now + seconds
        while due := [timer for timer in self._timers if timer.moment <= end]:
            timer = min(due, key=lambda timer: timer.moment)
            self._timers.remove(timer)
            self._now = timer.moment
            timer.callback()
        self._now = end

    async def waited_for(self, count: int = 1) -> None:
        """Return when at least `count` callers wait for a moment to come."""
        while len(self._timers) < count:
            self._waited_for.clear()
            await self._waited_for.wait()


class _ManualTimer:
    def __init__(
        self, moment: float, callback: Callable[[], None], pending: list["_ManualTimer"]
    ) -> None:
        self.moment = moment
        self.callback = callback
        self._pending = pending

    def cancel(self) -> None:
        if self in self._pending:
            self._pending.remove(self)
