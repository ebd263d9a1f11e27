"""When to ask for messages, and for how many: just in time.

A held message is one that an idle pod could have had, so the next is asked for when, by forecast,
all that is held will be done about as soon as another could be ready.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from queue_agent.worker.forecast import Forecast
from queue_agent.worker.slot import Slot, Stage, standing_at

_MARGIN: Final = 0.02
"""Seconds to be early, for the noise of timers and of the runtime."""
_SHORTEST_PAUSE: Final = 0.001
_COMPANY: Final = 0.05
"""Seconds to be earlier still, to ask for several messages at once."""
_FINISHING_LIMIT: Final = 24
"""Jobs that may be storing and notifying; more, and the cloud is the bottleneck."""
_ELSEWHERE_LIMIT: Final = 64
"""Messages that may wait for what another message of their job comes to."""
_FETCHING_LIMIT: Final = 16
"""Jobs that may wait for their models; more, and others have no chance to overtake them."""
_ACKNOWLEDGING_LIMIT: Final = 64
"""Jobs whose messages may wait to be deleted, which takes little; more, and the queue is."""
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

    def room(self, held: Sequence[Slot], concurrency: int) -> int:
        """How many more messages may be held at all."""
        if any(len(standing_at(held, stage)) >= limit for stage, limit in _LIMITS.items()):
            return 0
        unfinished = standing_at(
            held, Stage.PREPARING, Stage.WAITING, Stage.SUBMITTED, Stage.RUNNING
        )
        if any(slot.suspected for slot in unfinished):
            return 0
        ahead = self.prefetch if self.forecast.knows_runs else min(1, self.prefetch)
        return max(0, concurrency + ahead - len(unfinished))

    def now(self, held: Sequence[Slot], concurrency: int, room: int) -> int:
        """How many to ask for now, of those for which there is room."""
        if not room or self._starving_in(0, held, concurrency) > self._ahead:
            return 0
        # the next can only be asked for once these are here
        soon = self._ahead + self.forecast.receive.mean
        if concurrency > 1:
            soon += _COMPANY
        wanted = 1
        while wanted < room and self._starving_in(wanted, held, concurrency) <= soon:
            wanted += 1
        return wanted

    def pause(self, held: Sequence[Slot], concurrency: int) -> float:
        """Until it is time to ask, unless something changes."""
        return max(_SHORTEST_PAUSE, self._starving_in(0, held, concurrency) - self._ahead)

    @property
    def _ahead(self) -> float:
        return self.forecast.lead + _MARGIN

    def _starving_in(self, more: int, held: Sequence[Slot], concurrency: int) -> float:
        """Seconds until the GPU has nothing to do, were `more` messages held."""
        expected = {slot: self.forecast.run(slot.kind) for slot in held}
        running = standing_at(held, Stage.RUNNING)
        free = [slot.remaining(expected[slot]) for slot in running]
        free += [0.0] * (concurrency - len(running))
        heapq.heapify(free)
        queued = standing_at(held, Stage.PREPARING, Stage.WAITING, Stage.SUBMITTED)
        works = [expected[slot] for slot in queued] + [self.forecast.run(None)] * more
        for work in works:
            heapq.heapreplace(free, free[0] + work)
        return free[0]
