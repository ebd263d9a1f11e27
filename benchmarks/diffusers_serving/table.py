"""From what was seen to lines of Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from benchmarks.diffusers_serving.loads import LoadOutcome
from benchmarks.figures import quantile

SHORT: Final = 4
"""Steps of the jobs whose latencies have a column of their own, beside longer ones."""

_COLUMNS: Final = {
    "images_per_second": ("images/s", 2),
    "image_steps_per_second": ("image steps/s", 0),
    "p50": ("p50 s", 2),
    "p95": ("p95 s", 2),
    "short_p95": (f"p95 s of {SHORT} steps", 2),
    "busy_percent": ("busy %", 0),
    "share_of_limit_percent": ("% of limit", 0),
}
"""With their titles, and their digits after the point."""


@dataclass(frozen=True)
class ServingRow:
    """One line of the report; latencies in seconds."""

    subject: str
    load: str
    jobs: int
    images_per_second: float
    image_steps_per_second: float
    """Comparable even where chance gave the subjects jobs of different lengths."""
    p50: float
    p95: float
    short_p95: float | None
    busy_percent: float
    share_of_limit_percent: float | None = None


@dataclass(frozen=True)
class SkippedRow:
    """A line for what was not measured."""

    subject: str
    load: str
    skipped: str
    """Why."""


def serving_row(
    subject: str, load: str, seen: Sequence[LoadOutcome], limit: float | None
) -> ServingRow:
    """Of several rounds; `limit` is in image steps per second."""
    jobs = [job for outcome in seen for job in outcome.latencies]
    latencies = [latency for _, latency in jobs]
    short = [latency for steps, latency in jobs if steps == SHORT]
    worked = median(
        sum(steps for steps, _ in outcome.latencies) / outcome.seconds for outcome in seen
    )
    return ServingRow(
        subject=subject,
        load=load,
        jobs=len(latencies),
        images_per_second=median(len(outcome.latencies) / outcome.seconds for outcome in seen),
        image_steps_per_second=worked,
        p50=quantile(latencies, 0.5),
        p95=quantile(latencies, 0.95),
        short_p95=quantile(short, 0.95) if short else None,
        busy_percent=100 * median(outcome.busy / outcome.seconds for outcome in seen),
        share_of_limit_percent=None if limit is None else 100 * worked / limit,
    )


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table of rows as dictionaries; why a row was skipped stands in its cells."""
    titles = ["load", "subject", "jobs", *(title for title, _ in _COLUMNS.values())]
    lines = [f"| {' | '.join(titles)} |", "|---|---|" + "---:|" * (len(titles) - 2)]
    for row in rows:
        cells = [row["load"], row["subject"]]
        if "skipped" in row:
            cells += ["", row["skipped"], *[""] * (len(_COLUMNS) - 1)]
        else:
            cells.append(str(row["jobs"]))
            cells += [_cell(row[name], digits) for name, (_, digits) in _COLUMNS.items()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
