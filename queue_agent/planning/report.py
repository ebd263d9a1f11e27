"""Outcomes as a table for people, in Markdown."""

from collections.abc import Iterable, Iterator
from typing import Final

from queue_agent.planning.simulation import FleetOutcome

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


def table(outcomes: Iterable[FleetOutcome]) -> Iterator[str]:
    """Its lines."""
    yield _line(_COLUMNS)
    yield _line(["---", *["---:"] * (len(_COLUMNS) - 1)])
    for outcome in outcomes:
        yield _line(_cells(outcome))


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


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
