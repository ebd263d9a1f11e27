"""From moments to figures: pure functions, all in seconds unless named otherwise."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

Span = tuple[float, float]
"""From when to when a GPU worked."""


def quantile(values: Iterable[float], part: float) -> float:
    """The value below which that part of the values lies (nearest rank); NaN of nothing."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def gaps(spans: Iterable[Span]) -> list[float]:
    """How long the GPU stood idle between consecutive spans; 0 where they overlap."""
    found: list[float] = []
    until: float | None = None
    for start, end in sorted(spans):
        if until is not None:
            found.append(max(0.0, start - until))
        until = end if until is None else max(until, end)
    return found


def busy_fraction(spans: Sequence[Span]) -> float:
    """Part of the time from the first start to the last end in which the GPU worked."""
    if not spans:
        return math.nan
    whole = max(end for _, end in spans) - min(start for start, _ in spans)
    return 1 - sum(gaps(spans)) / whole if whole else 1.0


def rate(moments: Sequence[float]) -> float:
    """Events per second between the first and the last; NaN of fewer than two."""
    if len(moments) < 2:
        return math.nan
    return (len(moments) - 1) / (max(moments) - min(moments))


def hold_times(received: Iterable[tuple[str, float]], starts: Mapping[str, float]) -> list[float]:
    """From a job's last delivery before its GPU time until that begins."""
    latest = {job: moment for job, moment in received if job in starts and moment <= starts[job]}
    return [starts[job] - moment for job, moment in latest.items()]


def idle_while_waiting(spans: Sequence[Span], depths: Sequence[tuple[float, int]]) -> float:
    """Seconds between the first and last span in which the GPU idled though messages were visible.

    `depths` tells how many messages were visible from which moment on.
    """
    ordered = sorted(spans)
    idle = []
    until = ordered[0][1] if ordered else 0.0
    for start, end in ordered[1:]:
        if start > until:
            idle.append((until, start))
        until = max(until, end)
    waiting = [(moment, following[0]) for (moment, depth), following in pairwise(depths) if depth]
    return sum(
        max(0.0, min(idle_end, waiting_end) - max(idle_start, waiting_start))
        for idle_start, idle_end in idle
        for waiting_start, waiting_end in waiting
    )
