"""How long things will take, from how long they took: the base of asking just in time."""

import math
from dataclasses import dataclass
from typing import Final

from cachetools import LRUCache

from queue_agent.wire.job import Job
from queue_agent.wire.work import work_of

_KINDS: Final = 256
_WEIGHT: Final = 0.25
_COLD: Final = 1
_WAITED: Final = 3.0
"""A receive that took so many times the quickest waited for its message."""
_SIZES: Final = (
    *("steps", "width", "height", "batch_size", "n_iter", "hr_scale"),
    "upscaling_resize",
)

Kind = tuple[object, ...]
"""Jobs of one kind take about as long: the kind of work, what makes images larger, the sizes."""


def kind_of(job: Job) -> Kind:
    """The kind of a job, by its portable fields."""
    sizes = (job.content.get(name) for name in _SIZES)
    numbers = (size if isinstance(size, int | float) else None for size in sizes)
    upscaler = job.content.get("upscaler_1")
    return (work_of(job).kind, upscaler if isinstance(upscaler, str) else None, *numbers)


@dataclass
class Estimate:
    """An exponentially weighted mean and deviation, in seconds (as in RFC 6298).

    The first observation is of cold connections and caches: the second replaces it.
    """

    mean: float
    deviation: float = 0.0
    _observed: int = 0

    def observe(self, seconds: float) -> None:
        self._observed += 1
        if self._observed <= _COLD + 1:
            self.mean, self.deviation = seconds, seconds / 4
            return
        self.deviation += _WEIGHT * (abs(seconds - self.mean) - self.deviation)
        self.mean += _WEIGHT * (seconds - self.mean)

    @property
    def cautious(self) -> float:
        """What is rarely exceeded."""
        return self.mean + 2 * self.deviation


class Forecast:
    """What one agent has learnt about its runtime and its cloud."""

    def __init__(self, *, lead: float = 0.5) -> None:
        self.receive = Estimate(lead / 2)
        """From asking for a message that is there to having it."""
        self.prepare = Estimate(lead / 2)
        """From having it to its being ready for the runtime."""
        self._quickest_receive = float("inf")
        self._runs: LRUCache[Kind, Estimate] = LRUCache(_KINDS)
        self._any: Estimate | None = None

    @property
    def lead(self) -> float:
        """Seconds before the GPU is free at which to ask for the next message."""
        return self.receive.cautious + self.prepare.cautious

    @property
    def knows_runs(self) -> bool:
        return self._any is not None

    def run(self, kind: Kind | None) -> float:
        """Expected seconds on the GPU; 0 while nothing is known, so that the GPU never waits."""
        known = self._runs.get(kind) if kind is not None else None
        estimate = known or self._any
        return estimate.mean if estimate else 0.0

    def observe_receive(self, seconds: float, *, youngest: float = math.inf) -> None:
        """Learn from a receive that brought messages, unless it seems to have waited for them.

        `youngest`: seconds since the last of them was sent. Where that was while it was asked for,
        as of polls of a queue that is empty, the receive tells how seldom messages come.
        """
        if youngest < seconds:
            return
        self._quickest_receive = min(self._quickest_receive, seconds)
        if seconds <= _WAITED * self._quickest_receive:
            self.receive.observe(seconds)

    def observe_run(self, kind: Kind | None, seconds: float) -> None:
        """Learn from a finished run."""
        if self._any is None:
            self._any = Estimate(seconds)
        self._any.observe(seconds)
        if kind is None:
            return
        self._runs.setdefault(kind, Estimate(seconds)).observe(seconds)
