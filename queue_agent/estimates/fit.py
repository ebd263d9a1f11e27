"""From seen runs to what a job will take: robust against outliers, honest where little is known.

A line through the runs of the same kind and model (Theil and Sen: the median of the slopes between
all pairs), corrected by how far the runs nearest in size lie from it. These tell the range, too.
Loads of models are told apart from runs; how often they come is how likely the next one is.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from queue_agent.estimates.loads import Loads, slopes
from queue_agent.estimates.runs import SeenRun, SeenRuns
from queue_agent.wire.estimate import Basis, Spread
from queue_agent.wire.work import Work

_NEAREST: Final = 9
_MOST: Final = 90
"""Of the newest runs that a line is drawn through."""
_ENOUGH: Final = 3
"""Runs of a model; with fewer, those of the others count."""
_SAME: Final = 0.1
"""Distance below which sizes are as good as the same."""
_LEAST_SPREAD: Final = 0.03
"""Of a run, that is always uncertain."""
_PER_RUN: Final = 0.5
"""Uncertainty of one run alone; of n the n-th part."""
_PER_DISTANCE: Final = 0.25
"""Uncertainty for each factor of e between its size and the nearest that was seen."""
_OTHER_MODEL: Final = math.log(1.5)
"""Uncertainty where only other models were seen."""
_NOTHING_SEEN: Final = math.log(4)
_EIGHT_OF_TEN: Final = (0.1, 0.9)


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """What a job will take on the runtime, in seconds."""

    run: Spread
    gpu_seconds: Spread
    price: float | None
    """Of an hour, as agents told with such runs."""
    basis: Basis


def estimate_run(seen: SeenRuns, work: Work, *, usual: float) -> RunEstimate:
    """What the work will take; `usual`: the seconds to say where nothing was seen at all."""
    same = [run for kind in seen.kinds if _is(kind.kind, kind.model, work) for run in kind.runs]
    loads = Loads.of(same, [kind.runs for kind in seen.kinds if kind.kind == work.kind])
    if len(same) >= _ENOUGH:
        return _from(same, work, loads, "model", 0.0)
    alike = [run for kind in seen.kinds if kind.kind == work.kind for run in kind.runs]
    others = alike or [run for kind in seen.kinds for run in kind.runs]
    if others:
        return _from(others, work, loads, "runtime", _OTHER_MODEL)
    spread = _around(usual, -_NOTHING_SEEN, _NOTHING_SEEN)
    return RunEstimate(spread, spread, None, "setting")


def _is(kind: str, model: str | None, work: Work) -> bool:
    return (kind, model) == (work.kind, work.model)


def _from(
    runs: Sequence[SeenRun], work: Work, loads: Loads, basis: Basis, uncertain: float
) -> RunEstimate:
    runs = sorted(runs, key=lambda run: -run.at)[:_MOST]
    line = _Line.through([(run.amount, loads.without(run)) for run in runs])
    near = sorted(runs, key=lambda run: _distance(run, work))[:_NEAREST]
    ratios = _Weighted.of(
        (math.log(loads.without(run) / line.at(run.amount)), _weight(run, work)) for run in near
    )
    low, high = loads.between(_EIGHT_OF_TEN)
    middle, lowest, highest = (ratios.quantile(share) for share in (0.5, low.share, high.share))
    uncertain += _PER_RUN / ratios.count + _PER_DISTANCE * _distance(near[0], work)
    expected = line.at(work.amount) * math.exp(middle)
    run = _around(
        expected,
        -math.hypot(_LEAST_SPREAD, middle - lowest, uncertain),
        math.hypot(_LEAST_SPREAD, highest - middle, uncertain),
    )
    spread = Spread.of(loads.mean(expected), run.low + low.load, run.high + high.load)
    share = median(run.gpu_seconds / run.seconds for run in near)
    prices = [run.price for run in near if run.price is not None]
    return RunEstimate(spread, spread.times(share), median(prices) if prices else None, basis)


def _around(expected: float, low: float, high: float) -> Spread:
    return Spread.of(expected, expected * math.exp(low), expected * math.exp(high))


@dataclass(frozen=True, slots=True)
class _Line:
    """Seconds against the amount of work; of work whose amount is not known, what is usual."""

    fixed: float
    slope: float
    usual: float

    @classmethod
    def through(cls, runs: Sequence[tuple[float | None, float]]) -> "_Line":
        """Of amounts and seconds."""
        usual = median(seconds for _, seconds in runs)
        points = [(amount, seconds) for amount, seconds in runs if amount]
        between = slopes(points)
        slope = median(between) if between else 0.0
        if slope > 0:
            fixed = max(0.0, median(seconds - slope * amount for amount, seconds in points))
            return cls(fixed, slope, usual)
        if points and not between:  # of one size only: as if all of it grew with the work
            return cls(0.0, median(seconds / amount for amount, seconds in points), usual)
        return cls(usual, 0.0, usual)

    def at(self, amount: float | None) -> float:
        return self.fixed + self.slope * amount if amount else self.usual


def _distance(run: SeenRun, work: Work) -> float:
    """How far apart two sizes are: in amount, and in how that comes about."""
    if not run.amount or not work.amount:
        return 0.0 if run.amount == work.amount else 1.0
    pairs = ((run.amount, work.amount), (run.megapixels, work.megapixels), (run.count, work.count))
    return math.hypot(*(math.log(one / other) for one, other in pairs if one and other))


def _weight(run: SeenRun, work: Work) -> float:
    return 1 / (_SAME + _distance(run, work)) ** 2


@dataclass(frozen=True, slots=True)
class _Weighted:
    """Values in order, and their parts of the whole weight."""

    values: Sequence[float]
    weights: Sequence[float]

    @classmethod
    def of(cls, pairs: Iterable[tuple[float, float]]) -> "_Weighted":
        ordered = sorted(pairs)
        whole = sum(weight for _, weight in ordered)
        return cls([value for value, _ in ordered], [weight / whole for _, weight in ordered])

    @property
    def count(self) -> float:
        """As many values of the same weight tell as much (Kish)."""
        return 1 / sum(weight * weight for weight in self.weights)

    def quantile(self, share: float) -> float:
        """By linear interpolation between the middles of the values' parts."""
        before = past = 0.0
        below: float | None = None
        for value, weight in zip(self.values, self.weights, strict=True):
            middle = past + weight / 2
            if middle >= share:
                if below is None:
                    return value
                return below + (value - below) * (share - before) / (middle - before)
            below, before = value, middle
            past += weight
        return self.values[-1]
