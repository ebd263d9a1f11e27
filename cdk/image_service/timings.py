"""How long things may take: all from the expected length of a job, see README.md."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from image_service.chart_values import defaults, merged, value_of
from queue_agent.cloud.queue_times import (
    DAY,
    LONGEST_KEPT,
    LONGEST_RUN,
    RUNS_IN_LIMIT,
    longest_run,
    retention,
    visibility_timeout,
)
from queue_agent.planning.policy import seconds_of
from queue_agent.settings.agent import Settings
from queue_agent.settings.values import seconds_by_task_type

SPOT_LEFT: Final = 110
"""What a pod has of the two minutes that a spot node has, as the chart counts them."""


@dataclass(frozen=True)
class RuntimeTimes:
    """Of one runtime, in seconds."""

    shutdown_grace: int
    """A pod told to stop has to finish its job (`agent.shutdownGrace`)."""
    run_timeout: int
    """A run that takes longer is interrupted (`agent.settings.runTimeout`)."""
    visibility: int
    """A lost pod keeps its job from others; agents renew their lease while they work."""
    retention: int
    """The queue keeps a job."""


def timings(
    job_seconds: int,
    max_receives: int,
    values: Mapping[str, Any],
    *,
    visibility: int | None,
    retention_days: int | None,
) -> RuntimeTimes:
    """By the formulas, where neither the runtime's `values` of the chart nor the fields say.

    Raises:
        ValueError: they cannot be meant together; the message says why.
    """
    run_timeout = _number(values, "agent", "settings", "runTimeout")
    if run_timeout is None:
        usual = int(Settings.model_fields["run_timeout"].default)
        run_timeout = longest_run(job_seconds, usual=usual)
    longest = max([run_timeout, *_by_task_type(values)])
    longest_job = max(job_seconds, longest // RUNS_IN_LIMIT if longest > run_timeout else 0)
    grace = _number(values, "agent", "shutdownGrace")
    if grace is None:
        usual = value_of(defaults(), "agent", "shutdownGrace")
        grace = min(_longest_grace(values), max(usual, 2 * longest_job))
    if visibility is None:
        visibility = visibility_timeout(longest_job)
    if retention_days is None:
        kept = retention(max_receives, run_timeout=longest, visibility=visibility)
    else:
        kept = retention_days * DAY
    result = RuntimeTimes(grace, run_timeout, visibility, kept)
    faults = list(_faults(result, longest, job_seconds, max_receives, values))
    if faults:
        raise ValueError("; ".join(faults))
    return result


def has_spot(values: Mapping[str, Any]) -> bool:
    """Whether its nodes may be taken away with two minutes' notice, as the chart decides it."""
    for label in ("karpenter.sh/capacity-type", "eks.amazonaws.com/capacityType"):
        if selected := value_of(values, "pod", "nodeSelector", label):
            return str(selected).lower() == "spot"
    return "spot" in value_of(merged(defaults(), values), "karpenter", "capacityTypes")


def _number(values: Mapping[str, Any], *path: str) -> int | None:
    found = value_of(values, *path)
    if found is not None and not isinstance(found, int):
        raise ValueError(f"values.{'.'.join(path)}: {found!r} is no whole number of seconds")
    return found


def _by_task_type(values: Mapping[str, Any]) -> list[int]:
    entries = value_of(values, "agent", "settings", "runTimeouts") or ()
    try:
        return [ceil(seconds) for seconds in seconds_by_task_type(tuple(entries)).values()]
    except ValueError as error:
        raise ValueError(f"values.agent.settings.runTimeouts: {error}") from None


def _longest_grace(values: Mapping[str, Any]) -> int:
    both = merged(defaults(), values)
    whole = seconds_of(value_of(both, "karpenter", "terminationGracePeriod"))
    whole = SPOT_LEFT if has_spot(values) else whole
    return int(whole - value_of(both, "pod", "stopSeconds"))


def _faults(
    found: RuntimeTimes,
    longest_run: int,
    job_seconds: int,
    max_receives: int,
    values: Mapping[str, Any],
) -> Iterator[str]:
    if found.run_timeout < job_seconds:
        yield (
            f"values.agent.settings.runTimeout: {found.run_timeout} s end the usual job, "
            f"which takes {job_seconds} s"
        )
    if longest_run > LONGEST_RUN:
        where = "runTimeout" if found.run_timeout == longest_run else "runTimeouts"
        yield (
            f"values.agent.settings.{where}: at most {LONGEST_RUN} s, because SQS lets nobody "
            "hold a message for longer than 12 hours"
        )
    longest = _longest_grace(values)
    if found.shutdown_grace > longest:
        yield (
            "values.agent.shutdownGrace: spot nodes are gone two minutes after the notice, so at "
            f"most {longest} s; or values.karpenter.capacityTypes: [on-demand]"
            if has_spot(values)
            else "values.agent.shutdownGrace: longer than values.karpenter.terminationGracePeriod "
            "leaves, after which the node goes"
        )
    if found.retention >= LONGEST_KEPT * DAY:
        yield (
            f"retention_days: at most {LONGEST_KEPT - 1}, because dead letters are kept for "
            f"{LONGEST_KEPT} days from their publication"
        )
    if found.retention < max_receives * longest_run:
        yield (
            f"max_receives: {max_receives} attempts of up to {longest_run} s each take "
            f"longer than the {found.retention // DAY} days for which the queue keeps a job"
        )
