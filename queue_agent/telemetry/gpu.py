"""How long the runtime had work, and how long it had none; and whose work it was."""

import time
from collections.abc import Callable


class GpuClock:
    """Two stopwatches, of which one always runs. Durations are in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._busy = False
        self._since = clock()
        self._spent = {True: 0.0, False: 0.0}

    def note(self, *, busy: bool) -> None:
        """Say whether the runtime works from now on."""
        if busy is not self._busy:
            self._spent[self._busy] += self._running
            self._busy, self._since = busy, self._clock()

    def seconds(self) -> tuple[float, float]:
        """Time with work, and time without."""
        now = {**self._spent, self._busy: self._spent[self._busy] + self._running}
        return now[True], now[False]

    @property
    def _running(self) -> float:
        return self._clock() - self._since


class SharedTime:
    """Time of the runtime in equal parts for all that run: what each has used of it, in seconds.

    A job uses what `each` has grown by while it ran. So the jobs' parts add up to the time in
    which any ran, however many it works on at once.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._each = 0.0

    def each(self, running: int) -> float:
        """What one has used that ran from the start; `running`: so many did since last asked."""
        now = self._clock()
        if running:
            self._each += (now - self._since) / running
        self._since = now
        return self._each
