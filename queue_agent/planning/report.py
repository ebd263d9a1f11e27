"""Outcomes as a table for people, in Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from queue_agent.planning.outcome import FleetOutcome, QueueOutcome

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
_QUEUE_COLUMNS: Final = (
    "queues",
    "jobs",
    "their number",
    "wait p50 s",
    "p95 s",
    "p99 s",
    "deadlines missed",
    "GPU-hours",
    "USD per 1,000",
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


def queue_table(outcomes: Iterable[FleetOutcome]) -> Iterator[str]:
    """The lines of one about several queues: of each outcome all jobs, and those of each."""
    return _lines(_QUEUE_COLUMNS, (row for it in outcomes for row in _queue_rows(it)))


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


def _queue_rows(outcome: FleetOutcome) -> Iterator[Sequence[str]]:
    fleet = (
        f"{outcome.gpu_seconds / 3600:,.1f}",
        f"{outcome.usd_per_1000:,.3f}",
        str(outcome.most_pods),
    )
    yield (outcome.policy, "all", *_queue_cells(outcome), *fleet)
    for name, queue in outcome.by_priority.items():
        yield (outcome.policy, name, *_queue_cells(queue), "", "", "")


def _queue_cells(outcome: FleetOutcome | QueueOutcome) -> Iterator[str]:
    yield f"{len(outcome.waits):,}"
    for percent in (50, 95, 99):
        yield f"{outcome.wait(percent):,.1f}"
    yield f"{outcome.missed:,}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
