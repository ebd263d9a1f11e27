"""What happens in a simulation, one event after another."""

import heapq
from collections.abc import Callable
from itertools import count


class EventQueue:
    """Events by their times; those of one moment in the order in which they were planned."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the start."""
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, delay: float, event: Callable[[], None]) -> None:
        """Have it happen so many seconds from now."""
        heapq.heappush(self._events, (self.now + delay, next(self._order), event))

    def step(self) -> None:
        """Go to the next event, and let it happen."""
        self.now, _, event = heapq.heappop(self._events)
        event()
