"""When a job will start and end, and what it will cost: by its run, and by what waits before it."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean, pstdev
from typing import Final

from queue_agent.cloud import Backlog
from queue_agent.estimates.fit import RunEstimate
from queue_agent.estimates.runs import SeenRuns
from queue_agent.wire.estimate import JobEstimate, Spread

_HELD: Final = 2
"""Messages that an agent has at most for each place: of the job that runs, and of the next."""
_EIGHT_OF_TEN: Final = 1.2816
"""Standard deviations around the mean in which eight cases of ten lie, of a normal distribution."""
_UNIFORM: Final = 1 / math.sqrt(12)
"""Standard deviation of what lies anywhere between 0 and 1."""
_AROUND: Final = 0.3
"""Seconds from a job's publication to an agent, and from its run's end to its result, at least."""
_MOST_AROUND: Final = 3.0
_NEVER_SEEN: Final = 0.5
"""Uncertainty of what jobs take on average, as a part of it, where none was seen."""


@dataclass(frozen=True, slots=True)
class QueueAhead:
    """What a job finds that is published now; durations in seconds."""

    backlog: Backlog | None
    """None: the queue cannot be asked, and nobody can tell when the job starts."""
    places: int | None
    """Jobs that agents do at once; None: it is not known who is there."""
    pod_start: float
    """Until an agent is there, where none is."""


def promise(run: RunEstimate, seen: SeenRuns, ahead: QueueAhead, now: float) -> JobEstimate:
    """What is told of the job; first come, first served is taken for granted."""
    start = None if ahead.backlog is None else _start(run, seen, ahead, ahead.backlog)
    price = run.price
    return JobEstimate(
        at=datetime.fromtimestamp(now, UTC).replace(microsecond=0),
        start=start,
        end=None if start is None else _end(start, run.run),
        run=run.run,
        gpu_seconds=run.gpu_seconds,
        cost=None if price is None else run.gpu_seconds.times(price / 3600),
        basis=run.basis,
    )


def _start(run: RunEstimate, seen: SeenRuns, ahead: QueueAhead, backlog: Backlog) -> Spread:
    waiting, in_flight = backlog.waiting, backlog.in_flight
    # who has just come may not have told of itself yet, but holds messages
    places = max(ahead.places or 0, math.ceil(in_flight / _HELD))
    if ahead.places is None and not waiting:
        places = in_flight
    if not places:  # nobody is there, or nobody knows of anybody
        latest = ahead.pod_start if ahead.places == 0 else 0.0
        low = 0.0 if ahead.places is None else 0.5 * latest
        first = Spread.of(latest + _AROUND, low, max(latest, ahead.pod_start) + _MOST_AROUND)
        return _after(first, run, seen, waiting, places=1)
    running = min(in_flight, places)
    before = waiting + in_flight - running
    if running < places and not before:
        return Spread.of(_AROUND, 0.0, _MOST_AROUND)
    # of so many that run, one ends each mean / places seconds, the first after half of that
    return _after(
        Spread.of(_AROUND, 0.0, _MOST_AROUND), run, seen, before + 0.5, places, running=True
    )


def _after(
    first: Spread,
    run: RunEstimate,
    seen: SeenRuns,
    jobs: float,
    places: int,
    *,
    running: bool = False,
) -> Spread:
    """When so many jobs before it are done, from when the first of them can begin."""
    took = [one.gpu_seconds for one in seen.latest]
    mean = fmean(took) if took else run.gpu_seconds.expected
    spread = pstdev(took) if len(took) > 1 else mean / 2
    unsure = mean * _NEVER_SEEN if len(took) < 2 else spread / math.sqrt(len(took))
    work = jobs * mean / places
    phase = _UNIFORM * mean / places if running else 0.0
    # each of the jobs takes what it takes, all of them together what jobs take on average, and
    # nobody knows how far the running ones are
    deviation = math.hypot(spread * math.sqrt(jobs) / places, jobs * unsure / places, phase)
    wide = _EIGHT_OF_TEN * deviation
    return Spread.of(
        first.expected + work,
        max(first.low, first.low + work - wide),
        first.high + work + wide,
    )


def _end(start: Spread, run: Spread) -> Spread:
    """Their sum: neither is likely at its edge while the other is."""
    expected = start.expected + run.expected
    low = math.hypot(start.expected - start.low, run.expected - run.low)
    high = math.hypot(start.high - start.expected, run.high - run.expected)
    return Spread.of(expected + _AROUND, max(0.0, expected - low), expected + high + _AROUND)
