"""What of runs was the load of another model, told from runs that found theirs loaded."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Final, NamedTuple

from queue_agent.estimates.runs import SeenRun

_ENOUGH: Final = 3
"""Runs with a load, and without, of one model: with fewer of either they are not compared."""
_LEAST: Final = 0.1
"""Part of a run that is never taken for its load."""


class Edge(NamedTuple):
    """Where a range of runs with and without loads begins or ends."""

    share: float
    """Of the runs without their loads, those that lie below."""
    load: float
    """Seconds on top."""


@dataclass(frozen=True, slots=True)
class Loads:
    """Of the runs of one model."""

    seconds: float = 0.0
    """That a load takes; 0 where it cannot be told from runs."""
    share: float = 0.0
    """Of runs those that begin with one."""

    @classmethod
    def of(cls, own: Sequence[SeenRun], others: Iterable[Sequence[SeenRun]]) -> "Loads":
        """As far as the model's own runs tell, else those of each of the others."""
        seconds = _seconds(own)
        if seconds is None:
            found = [one for one in map(_seconds, others) if one is not None]
            seconds = median(found) if found else 0.0
        known = [run.loads for run in own if run.loads is not None]
        # what was never run has to be loaded
        return cls(seconds, sum(known) / len(known) if known else 1.0)

    def without(self, run: SeenRun) -> float:
        """Seconds of a run but for its load."""
        if not run.loads:
            return run.seconds
        return max(run.seconds - self.seconds, _LEAST * run.seconds)

    def mean(self, run: float) -> float:
        """Of a run that takes so long, with a load and without: in parts, as errors are told."""
        return run * math.pow((run + self.seconds) / run, self.share)

    def between(self, shares: tuple[float, float]) -> tuple[Edge, Edge]:
        """Between what such shares of all runs lie, with their loads: the shorter are those without
        one, as far as they reach."""
        low, high = shares
        without = 1 - self.share
        lowest = Edge(min(0.5, low / without), 0.0) if without > low else Edge(low, self.seconds)
        if self.share <= 1 - high:
            return lowest, Edge(high, 0.0)
        return lowest, Edge(max(0.5, 1 - (1 - high) / self.share), self.seconds)


def slopes(points: Sequence[tuple[float, float]]) -> list[float]:
    """Between all pairs of points that do not lie above each other."""
    return [
        (second[1] - first[1]) / (second[0] - first[0])
        for first, second in combinations(points, 2)
        if first[0] != second[0]
    ]


def _seconds(runs: Sequence[SeenRun]) -> float | None:
    """By which runs with a load lie above those without, whatever their amounts of work."""
    groups = [
        [(run.amount or 0.0, run.seconds) for run in runs if run.loads is loads]
        for loads in (True, False)
    ]
    if any(len(group) < _ENOUGH for group in groups):
        return None
    between = [slope for group in groups for slope in slopes(group)]
    slope = max(0.0, median(between)) if between else 0.0
    with_load, without = (
        median(seconds - slope * amount for amount, seconds in group) for group in groups
    )
    return max(0.0, with_load - without)
