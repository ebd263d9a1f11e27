"""How many pods are busy with what comes steadily, told by the queue alone."""

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from queue_agent.scaling.decision import HELD

WINDOW: Final = 300.0
"""Seconds."""
_SETTLED: Final = 0.2
"""Of a window; before, nothing is known."""
_SAMPLES: Final = 60
"""Of a window; more looks than these are not kept."""


def busy_pods(waiting: int, in_flight: int, asked: int | None) -> int:
    """How many pods work, where so many were `asked` for; None: it is not known how many.

    A pod may have the next message beside the one that it works on, above all while others wait.
    """
    least = math.ceil(in_flight / HELD)
    if asked is None:
        return least if waiting else in_flight
    return min(in_flight, max(asked, least))


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    busy: float
    held: int

    def since(self, before: "_Sample", seconds: float) -> float:
        """In Erlang: what pods did, and what there is more to do."""
        work = self.busy - before.busy + seconds * (self.held - before.held)
        return work / (self.at - before.at)


class SteadyLoad:
    """The work that has been coming throughout the last while, in Erlang (pods kept busy).

    What came is what pods did in the time, and what there is more of at its end (Little's law).
    A burst is no steady load: it counts the smaller of two windows, the last one and the one
    before it.
    """

    def __init__(self, window: float = WINDOW) -> None:
        self._window = window
        self._samples: deque[_Sample] = deque()
        self._latest: _Sample | None = None

    def look(self, now: float, *, busy: int, held: int, seconds: float) -> float | None:
        """The load, where so many pods are busy and the queue holds so many jobs; None at first.

        `seconds`: what a job takes.
        """
        before = self._latest
        done = 0.0 if before is None else before.busy + busy * (now - before.at)
        latest = self._latest = _Sample(now, done, held)
        samples, window = self._samples, max(self._window, 2 * seconds)
        if not samples or now - samples[-1].at >= window / _SAMPLES:
            samples.append(latest)
        while len(samples) > 2 and now - samples[1].at >= 2 * window:
            samples.popleft()
        first = samples[0]
        if now - first.at < max(window * _SETTLED, 2 * seconds):
            return None
        half = min(window, (now - first.at) / 2)
        middle = next(it for it in reversed(samples) if now - it.at >= half)
        late = latest.since(middle, seconds)
        early = middle.since(first, seconds) if middle is not first else late
        return max(0.0, min(late, early))
