"""Which of a fleet's queues one simulated agent asks, as `queue_agent.worker.queues` does."""

import math
from collections import Counter
from collections.abc import Collection, Mapping

from queue_agent.worker.queue_order import QueueOrder
from queue_agent.worker.queues import EMPTY_FOR, LONGEST_POLL


class PodQueues:
    """Of one agent. Answers take no time; times are in seconds since the start."""

    def __init__(self, order: QueueOrder) -> None:
        self._order = order
        self._empty_until: dict[str, float] = {}
        self._polled_until: dict[str, float] = {}
        """By polls that went on when another queue had brought a message."""
        self._waits_since: float | None = None

    def take(self, count: int, waiting: Mapping[str, int], now: float) -> Mapping[str, int]:
        """How many it takes of each of those that have work, by whose turn it is."""
        if len(self._order.queues) == 1:
            return {name: min(count, number) for name, number in waiting.items()}
        taken: dict[str, int] = {}
        while count and not taken and (asked := self._may_have(now)):
            for name, wanted in Counter(self._order.turns(asked, count)).items():
                if number := min(wanted, waiting.get(name, 0)):
                    taken[name] = number
                    self._note(name, number, now)
                else:
                    self._empty_until[name] = now + EMPTY_FOR
        return taken

    def wait(self, now: float) -> None:
        """None has anything: it has a poll on each."""
        self._waits_since = now

    def hears(self, name: str, now: float) -> bool:
        """Whether it has a poll there."""
        return self._waits_since is not None or now < self._polled_until.get(name, 0.0)

    def answered(self, name: str, now: float) -> None:
        """A poll there has brought a message; the others go on to their ends."""
        if self._waits_since is not None and len(self._order.queues) > 1:
            polls = max(1, math.ceil((now - self._waits_since) / LONGEST_POLL))
            end = self._waits_since + polls * LONGEST_POLL
            for other in self._order.queues:
                self._polled_until[other] = max(end, self._polled_until.get(other, 0.0))
                self._empty_until[other] = self._polled_until[other] + EMPTY_FOR
        self._waits_since = None
        self._polled_until.pop(name, None)
        self._empty_until.pop(name, None)
        self._note(name, 1, now)

    def _may_have(self, now: float) -> Collection[str]:
        return [name for name in self._order.queues if self._empty_until.get(name, 0.0) <= now]

    def _note(self, name: str, count: int, now: float) -> None:
        waiting = {name, *self._may_have(now)}
        for _ in range(count):
            self._order = self._order.after(name, waiting)
