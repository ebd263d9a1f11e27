"""What people read: a table, JSON, and a chart."""

import json
import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks.measurement import Measurement, as_dict, median
from benchmarks.scenarios import Cell
from benchmarks.startup import Startup

_COLUMNS: Final = {
    "jobs/s": ("jobs_per_second", ".2f"),
    "GPU %": ("gpu_busy_percent", ".1f"),
    "gap p50": ("gap_p50_ms", ".1f"),
    "gap p99": ("gap_p99_ms", ".1f"),
    "CPU/job": ("cpu_ms_per_job", ".1f"),
    "RSS MB": ("peak_rss_mb", ".0f"),
    "calls": ("calls_per_job", ".2f"),
    "puts": ("puts_per_job", ".2f"),
    "hold p50": ("hold_p50_ms", ".0f"),
    "hold p95": ("hold_p95_ms", ".0f"),
    "machine %": ("machine_busy_percent", ".0f"),
}
_EXTRA_COLUMNS: Final = {
    "arrivals": {
        "latency p50": ("latency_p50_ms", ".0f"),
        "latency p99": ("latency_p99_ms", ".0f"),
    },
    "fleet": {
        "fewest": ("fewest_jobs", ".0f"),
        "most": ("most_jobs", ".0f"),
        "idle, waiting %": ("idle_while_waiting_percent", ".2f"),
    },
}


@dataclass(frozen=True)
class Row:
    """The figures of every subject in one cell."""

    cell: Cell
    rounds: Mapping[str, Sequence[Measurement]]
    """In each round every subject was measured once, one after the other."""

    @property
    def measured(self) -> Mapping[str, Measurement]:
        """The median of each figure."""
        return {subject: median(each) for subject, each in self.rounds.items()}

    def ratio(self, figure: str, subject: str, to: str) -> float:
        """The median over the rounds of one subject's figure in parts of another's."""
        pairs = zip(self.rounds[subject], self.rounds[to], strict=True)
        ratios = [getattr(one, figure) / getattr(other, figure) for one, other in pairs]
        return float(statistics.median(ratios))


def table(scenario: str, rows: Sequence[Row]) -> Table:
    """The scenario's figures; times in milliseconds."""
    columns = {**_COLUMNS, **_EXTRA_COLUMNS.get(scenario, {})}
    shown = Table(title=f"{scenario} (times in ms)", title_justify="left")
    shown.add_column("case", no_wrap=True)
    shown.add_column("subject", no_wrap=True)
    for heading in columns:
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        for number, (subject, measurement) in enumerate(row.measured.items()):
            figures = [_shown(getattr(measurement, name), form) for name, form in columns.values()]
            shown.add_row(
                "" if number else row.cell.label,
                subject,
                *figures,
                end_section=number == len(row.measured) - 1,
            )
    return shown


def ratios_table(rows: Sequence[Row]) -> Table | None:
    """What each subject takes and reaches in parts of what the cell's reference does.

    None where none has been measured beside its reference.
    """
    shown = Table(title_justify="left")
    for heading in ("case", "subject", "CPU/job", "jobs/s"):
        shown.add_column(heading, no_wrap=True)
    for row in rows:
        reference = row.cell.reference
        if reference is None or reference.name not in row.rounds:
            continue
        shown.title = f"in parts of: {reference.name}"
        for subject in row.rounds:
            if subject != reference.name:
                figures = (
                    f"{row.ratio(figure, subject, to=reference.name):.2f}"
                    for figure in ("cpu_ms_per_job", "jobs_per_second")
                )
                shown.add_row(row.cell.label, subject, *figures)
    return shown if shown.row_count else None


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def startup_table(startup: Startup) -> Table:
    """What the start takes; times in milliseconds."""
    shown = Table(title="startup (ms)", title_justify="left")
    for heading in ("first poll", "import cli", "import run", "python alone"):
        shown.add_column(heading, justify="right")
    shown.add_row(*(format(value, ".0f") for value in asdict(startup).values()))
    return shown


def write_json(
    path: Path, rows: Sequence[Row], startup: Startup | None, about: Mapping[str, Any]
) -> None:
    """All figures, for programs."""
    cells = [
        {
            "scenario": row.cell.scenario,
            "case": row.cell.label,
            "latency": row.cell.load.latency,
            "gpu_seconds": row.cell.load.gpu_seconds,
            "jobs": row.cell.load.jobs,
            "subjects": {name: as_dict(figures) for name, figures in row.measured.items()},
        }
        for row in rows
    ]
    report = {**about, "startup": asdict(startup) if startup else None, "cells": cells}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")


def _shown(figure: float, form: str) -> str:
    return "-" if math.isnan(figure) else format(figure, form)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())
