"""Outcomes as a table for people, in Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from queue_agent.planning.outcome import FleetOutcome

_COLUMNS: Final = (
    "policy",
    "wait p50 s",
    "p95 s",
    "p99 s",
    "last job s",
    "GPU-hours",
    "of them busy",
    "USD per 1,000",
    "jobs killed",
    "pods started",
    "most pods",
)
_CAPACITY_COLUMNS: Final = (
    "capacity",
    "USD per 1,000",
    "deadlines missed",
    "attempts lost",
    "wait p50 s",
    "p95 s",
    "p99 s",
    "GPU-hours",
    "pods started",
)
_ORDER_COLUMNS: Final = (
    "order",
    "wait p50 s",
    "p95 s",
    "p99 s",
    "GPU-hours",
    "of them busy",
    "USD per 1,000",
    "switches",
    "deadlines missed",
    "most pods",
)


def table(outcomes: Iterable[FleetOutcome]) -> Iterator[str]:
    """Its lines."""
    return _lines(_COLUMNS, map(_cells, outcomes))


def capacity_table(outcomes: Iterable[FleetOutcome]) -> Iterator[str]:
    """The lines of one about spot and on demand."""
    return _lines(_CAPACITY_COLUMNS, map(_capacity_cells, outcomes))


def order_table(outcomes: Iterable[FleetOutcome]) -> Iterator[str]:
    """The lines of one about orders of jobs."""
    return _lines(_ORDER_COLUMNS, map(_order_cells, outcomes))


def _lines(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    yield _line(columns)
    yield _line(["---", *["---:"] * (len(columns) - 1)])
    yield from map(_line, rows)


def _cells(outcome: FleetOutcome) -> Iterator[str]:
    yield outcome.policy
    for percent in (50, 95, 99):
        yield f"{outcome.wait(percent):,.1f}"
    yield f"{outcome.ended:,.0f}"
    yield f"{outcome.gpu_seconds / 3600:,.1f}"
    yield f"{100 * outcome.busy_seconds / outcome.gpu_seconds:.0f} %"
    yield f"{outcome.usd_per_1000:,.3f}"
    yield str(outcome.killed)
    yield str(outcome.pods_started)
    yield str(outcome.most_pods)


def _capacity_cells(outcome: FleetOutcome) -> Iterator[str]:
    yield outcome.policy
    yield f"{outcome.usd_per_1000:,.3f}"
    yield f"{outcome.missed:,}"
    yield f"{outcome.killed:,}"
    for percent in (50, 95, 99):
        yield f"{outcome.wait(percent):,.1f}"
    yield f"{outcome.gpu_seconds / 3600:,.1f}"
    yield str(outcome.pods_started)


def _order_cells(outcome: FleetOutcome) -> Iterator[str]:
    yield outcome.policy
    for percent in (50, 95, 99):
        yield f"{outcome.wait(percent):,.1f}"
    yield f"{outcome.gpu_seconds / 3600:,.1f}"
    yield f"{100 * outcome.busy_seconds / outcome.gpu_seconds:.0f} %"
    yield f"{outcome.usd_per_1000:,.3f}"
    yield f"{outcome.switches:,}"
    yield f"{outcome.missed:,}"
    yield str(outcome.most_pods)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
