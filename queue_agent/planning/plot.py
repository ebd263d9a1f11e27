"""Outcomes as a picture: pods over time, and how long which share of the jobs waited."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from queue_agent.planning.drawing import (
    COLOURS,
    HEIGHT,
    WIDTH,
    DrawnPanel,
    DrawnText,
    Picture,
    Point,
    round_up,
)
from queue_agent.planning.outcome import FleetOutcome

_POINTS: Final = 2_000
"""Of a line; more are not seen."""


def picture(outcomes: Sequence[FleetOutcome]) -> Picture:
    """The picture of some outcomes, a colour for each."""
    fleets = [outcome for outcome in outcomes if outcome.pods_over_time]
    hours = max((outcome.pods_over_time[-1][0] for outcome in fleets), default=0) / 3600
    pods = max((outcome.most_pods for outcome in fleets), default=0)
    longest = max(outcome.waits[-1] for outcome in outcomes)
    over_time = DrawnPanel("pods", 0, "hours", max(hours, 0.01), round_up(pods))
    waits = DrawnPanel("seconds that jobs waited", HEIGHT + 30, "% of jobs", 100, round_up(longest))
    shapes = [*over_time.axes(), *waits.axes()]
    for number, outcome in enumerate(outcomes):
        colour = COLOURS[number % len(COLOURS)]
        shapes.append(over_time.line(_thinned(_steps(outcome)), colour))
        shapes.append(waits.line(_shares(outcome), colour))
        shapes.append(DrawnText((180 + 120 * number, 46), outcome.policy, "start", colour))
    return Picture(WIDTH + 40, 2 * HEIGHT + 70, shapes)


def _steps(outcome: FleetOutcome) -> Iterator[Point]:
    before = 0
    for at, pods in outcome.pods_over_time:
        yield at / 3600, before
        yield at / 3600, pods
        before = pods


def _shares(outcome: FleetOutcome) -> Iterator[Point]:
    for tenth in range(1001):
        yield tenth / 10, outcome.wait(tenth / 10)


def _thinned(points: Iterator[Point]) -> Sequence[Point]:
    """The highest of each stretch, where there are too many."""
    given = list(points)
    stretch = math.ceil(len(given) / _POINTS)
    return [
        max(given[start : start + stretch], key=lambda point: point[1])
        for start in range(0, len(given), max(1, stretch))
    ]
