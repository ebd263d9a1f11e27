"""When to ask for messages, and for how many: just in time.

A held message is one that an idle pod could have had, so the next is asked for when, by forecast,
all that is held will be done about as soon as another could be ready.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Final

from queue_agent.worker.forecast import Forecast
from queue_agent.worker.slot import Slot, Stage
from queue_agent.worker.standing import Standing

_MARGIN: Final = 0.02
"""Seconds to be early, for the noise of timers and of the runtime."""
_SHORTEST_PAUSE: Final = 0.001
_COMPANY: Final = 0.05
"""Seconds to be earlier still, to ask for several messages at once."""
_FINISHING_LIMIT: Final = 24
"""Jobs that may be converting, storing and notifying; more, and CPU or cloud is the bottleneck."""
_ELSEWHERE_LIMIT: Final = 64
"""Messages that may wait for what another message of their job comes to."""
_FETCHING_LIMIT: Final = 16
"""Jobs that may wait for their models; more, and others have no chance to overtake them."""
_ACKNOWLEDGING_LIMIT: Final = 64
"""Jobs whose messages may wait to be deleted, which takes little; more, and the queue is."""
_QUEUED: Final = (Stage.PREPARING, Stage.WAITING, Stage.SUBMITTED)
_LIMITS: Final = {
    Stage.FINISHING: _FINISHING_LIMIT,
    Stage.ACKNOWLEDGING: _ACKNOWLEDGING_LIMIT,
    Stage.ELSEWHERE: _ELSEWHERE_LIMIT,
    Stage.FETCHING: _FETCHING_LIMIT,
}


@dataclass(frozen=True)
class Demand:
    """For a runtime that works on `concurrency` jobs at a time. Durations are in seconds."""

    forecast: Forecast
    prefetch: int
    """At most so many messages are held ahead of the running ones."""

    def room(self, held: Standing, concurrency: int) -> int:
        """How many more messages may be held at all."""
        if any(held.count(stage) >= limit for stage, limit in _LIMITS.items()):
            return 0
        unfinished = held.at(*_QUEUED, Stage.RUNNING)
        if any(slot.suspected for slot in unfinished):
            return 0
        ahead = self.prefetch if self.forecast.knows_runs else min(1, self.prefetch)
        return max(0, concurrency + ahead - len(unfinished))

    def most(self, held: Standing, concurrency: int) -> int:
        """The same where nobody waits for what is known of runs."""
        return max(0, concurrency + self.prefetch - held.count(*_QUEUED, Stage.RUNNING))

    def now(self, held: Standing, concurrency: int, room: int) -> int:
        """How many to ask for now, of those, one at least, for which there is room."""
        starving = self._starving(held, concurrency)
        if next(starving) > self._ahead:
            return 0
        # the next can only be asked for once these are here
        soon = self._ahead + self.forecast.receive.mean
        if concurrency > 1:
            soon += _COMPANY
        return 1 + sum(1 for _ in takewhile(soon.__ge__, islice(starving, room - 1)))

    def pause(self, held: Standing, concurrency: int) -> float:
        """Until it is time to ask, unless something changes."""
        return max(_SHORTEST_PAUSE, next(self._starving(held, concurrency)) - self._ahead)

    def until_done(self, held: Standing, concurrency: int, slot: Slot) -> float:
        """Seconds until a slot's job is done: those that run, and that go before it, come first."""
        running = held.at(Stage.RUNNING)
        before = [other for other in held.at(*_QUEUED) if _goes_before(other, slot)]
        expected = self.forecast.run
        free = [other.remaining(expected(other.kind)) for other in running]
        free += [0.0] * (concurrency - len(running))
        heapq.heapify(free)
        for other in before:
            heapq.heapreplace(free, free[0] + expected(other.kind) + other.switch)
        return free[0] + expected(slot.kind)

    @property
    def _ahead(self) -> float:
        return self.forecast.lead + _MARGIN

    def _starving(self, held: Standing, concurrency: int) -> Iterator[float]:
        """Seconds until the GPU has nothing to do, were 0, 1, 2, … more messages held."""
        running, queued = held.at(Stage.RUNNING), held.at(*_QUEUED)
        kinds = {slot.kind for slot in (*running, *queued)}
        expected = {kind: self.forecast.run(kind) for kind in kinds}
        free = [slot.remaining(expected[slot.kind]) for slot in running]
        free += [0.0] * (concurrency - len(running))
        heapq.heapify(free)
        for slot in queued:
            heapq.heapreplace(free, free[0] + expected[slot.kind] + slot.switch)
        another = self.forecast.run(None)
        while True:
            yield free[0]
            heapq.heapreplace(free, free[0] + another)


def _goes_before(other: Slot, slot: Slot) -> bool:
    return other is not slot and (other.stage is Stage.SUBMITTED or _turn(other) < _turn(slot))


def _turn(slot: Slot) -> tuple[float, float]:
    deadline = float("inf") if slot.deadline is None else slot.deadline
    return deadline, slot.entered(Stage.PREPARING)
