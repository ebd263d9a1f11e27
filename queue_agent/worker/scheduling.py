"""Whose turn it is among the jobs that an agent holds: a pure function of what waits.

The earliest deadline goes first; of equal ones, and of jobs without, who was ready first. Nobody
starves: who was overtaken so many times as is allowed goes before all that were ready later. Of a
group that a queue keeps in order, none goes before one that was ready earlier.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

MOST_OVERTAKEN: Final = 4
"""So many jobs that were ready later may go before a job."""


@dataclass(frozen=True)
class Candidate:
    """A job that waits for the runtime."""

    deadline: float | None = None
    """Seconds since the epoch; None: whenever."""
    overtaken: int = 0
    """How many that were ready later went before it."""
    group: str | None = None
    """What it is kept in order with."""


def turns(waiting: Sequence[Candidate], room: int) -> list[int]:
    """Places of those that go now, in their order; `waiting` is by when each was ready."""
    left = dict(enumerate(waiting))
    chosen: list[int] = []
    while left and len(chosen) < room:
        place = _next(left)
        chosen.append(place)
        del left[place]
        for other in [other for other in left if other < place]:
            left[other] = replace(left[other], overtaken=left[other].overtaken + 1)
    return chosen


def _next(left: dict[int, Candidate]) -> int:
    first: dict[str, int] = {}
    free = []
    for place, candidate in left.items():
        group = candidate.group
        if group is not None and first.setdefault(group, place) != place:
            continue
        if candidate.overtaken >= MOST_OVERTAKEN:
            return place  # of several, who was ready first
        free.append((_moment(candidate.deadline), place))
    return min(free)[1]


def _moment(deadline: float | None) -> float:
    return float("inf") if deadline is None else deadline
