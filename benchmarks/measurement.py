"""What one observation of a subject comes to."""

import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from benchmarks.figures import (
    Span,
    busy_fraction,
    gaps,
    hold_times,
    idle_while_waiting,
    quantile,
    rate,
)
from benchmarks.stage import Observation


@dataclass(frozen=True)
class Measurement:
    """The figures of one subject under one load; times in milliseconds where named so."""

    jobs_per_second: float
    gpu_busy_percent: float
    gap_p50_ms: float
    gap_p99_ms: float
    cpu_ms_per_job: float
    peak_rss_mb: float
    calls_per_job: float
    """Without the objects stored: the artifacts and the manifest. NaN where no call is seen."""
    puts_per_job: float
    hold_p50_ms: float
    hold_p95_ms: float
    latency_p50_ms: float
    """From sending a job to its notification."""
    latency_p99_ms: float
    first_poll_ms: float
    fewest_jobs: float
    """Of one worker; equal to `most_jobs` where the queue was shared evenly."""
    most_jobs: float
    idle_while_waiting_percent: float
    """Of the GPUs' time: idle though messages were visible in the queue."""
    machine_busy_percent: float
    """Of all cores, by all programs; the figures are of little worth where it is near 100."""

    @classmethod
    def of(cls, seen: Observation) -> "Measurement":
        """
        Raises:
            RuntimeError: a job was not notified, or not exactly once.
        """
        jobs = seen.load.jobs
        ended = {
            job: moment for job, status, moment in seen.cloud["notified"] if status != "running"
        }
        missing = seen.sent.keys() - ended.keys()
        if missing:
            raise RuntimeError(
                f"{len(missing)} of {jobs} jobs were not notified: {sorted(missing)[:5]}"
            )
        lanes = _lanes(seen)
        starts = {run["job"]: run["start"] for runs in seen.runs for run in runs}
        calls: dict[str, int] = {}
        for counted in seen.cloud["calls"].values():
            for operation, count in counted.items():
                calls[operation] = calls.get(operation, 0) + count
        puts = calls.pop("PutObject", 0) if calls else math.nan
        all_gaps = [gap for spans in lanes for gap in gaps(spans)]
        holds = hold_times([(job, at) for job, at in seen.cloud["received"]], starts)
        latencies = [ended[job] - moment for job, moment in seen.sent.items()]
        depths = [(at, depth) for at, depth in seen.cloud["depths"]["jobs"]]
        whole = sum(max(e for _, e in spans) - min(s for s, _ in spans) for spans in lanes if spans)
        idle = sum(idle_while_waiting(spans, depths) for spans in lanes)
        return cls(
            jobs_per_second=rate(list(ended.values())),
            gpu_busy_percent=100
            * statistics.fmean(busy_fraction(spans) for spans in lanes if spans),
            gap_p50_ms=1000 * quantile(all_gaps, 0.5),
            gap_p99_ms=1000 * quantile(all_gaps, 0.99),
            cpu_ms_per_job=1000 * seen.usage.cpu_seconds / jobs,
            peak_rss_mb=seen.usage.peak_rss_mb,
            calls_per_job=sum(calls.values()) / jobs if calls else math.nan,
            puts_per_job=puts / jobs,
            hold_p50_ms=1000 * quantile(holds, 0.5),
            hold_p95_ms=1000 * quantile(holds, 0.95),
            latency_p50_ms=1000 * quantile(latencies, 0.5),
            latency_p99_ms=1000 * quantile(latencies, 0.99),
            first_poll_ms=1000 * seen.first_poll,
            fewest_jobs=min(map(len, seen.runs)),
            most_jobs=max(map(len, seen.runs)),
            idle_while_waiting_percent=100 * idle / whole if whole else 0.0,
            machine_busy_percent=100
            * seen.usage.machine_cpu_seconds
            / (seen.usage.elapsed_seconds * (os.cpu_count() or 1)),
        )


def _lanes(seen: Observation) -> list[list[Span]]:
    """When each lane of each GPU worked."""
    found: dict[tuple[int, int], list[Span]] = {}
    for gpu, runs in enumerate(seen.runs):
        for run in runs:
            found.setdefault((gpu, run["lane"]), []).append((run["start"], run["end"]))
    return list(found.values())


def median(measurements: Sequence[Measurement]) -> Measurement:
    """The median of each figure by itself."""
    return Measurement(
        **{
            field.name: statistics.median(getattr(one, field.name) for one in measurements)
            for field in fields(Measurement)
        }
    )


def as_dict(measurement: Measurement) -> dict[str, float | None]:
    """The figures for JSON; null where there is none."""
    return {
        name: None if math.isnan(value) else round(value, 3)
        for name, value in asdict(measurement).items()
    }
