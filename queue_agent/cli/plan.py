"""`queue-agent plan`: what a fleet would cost, and how long jobs would wait."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Final

from queue_agent.planning.arrivals import (
    DAYS_A_MONTH,
    ExpectedJob,
    Shape,
    read_csv,
    shaped,
    some_of_models,
)
from queue_agent.planning.capacity import by_capacity, some_within
from queue_agent.planning.nodes import Circumstances, GpuNode
from queue_agent.planning.ordering import JobOrder
from queue_agent.planning.plot import picture
from queue_agent.planning.policy import (
    FleetPolicy,
    before,
    by_work,
    chart,
    chart_values,
    guidance,
    limited,
)
from queue_agent.planning.priorities import QueueParts, by_queues
from queue_agent.planning.recommend import recommend, values
from queue_agent.planning.report import capacity_table, order_table, queue_table, table
from queue_agent.planning.simulation import Simulation, oracle
from queue_agent.wire.errors import SettingsError
from queue_agent.worker.queue_order import QueueRule

_MOST_JOBS: Final = 10_000_000 * DAYS_A_MONTH
"""Jobs a month, by days."""


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What is asked for; durations in seconds, the price in USD an hour."""

    jobs_a_month: float
    seconds: float
    shape: Shape
    days: float
    arrivals: Path | None
    model_load: float
    image_pull: float
    node_start: float
    gpu_price: float | None
    interruptions: float
    spot_price: float | None
    deadlines: float
    """The share of jobs that have one."""
    within: float
    models: int | None
    """Asked for by Zipf's law; None: orders are not compared."""
    switch: float
    look_ahead: int
    queues: QueueParts | None
    """None: a single one."""
    queue_rule: QueueRule
    most_pods: int
    wait: float | None
    seed: int


def plan(wanted: FleetPlan, *, plot: Path | None, values_file: Path | None) -> Iterator[str]:
    """The lines of the report; writes the files.

    Raises:
        SettingsError: the arrivals cannot be read, a file cannot be written, or there is more to
            simulate than would ever be done.
    """
    if wanted.arrivals is None:
        if wanted.shape is Shape.DAILY and wanted.jobs_a_month * wanted.days > _MOST_JOBS:
            raise SettingsError("So many jobs would take hours: fewer --days, or fewer --jobs.")
        jobs = shaped(
            wanted.shape,
            jobs_a_month=wanted.jobs_a_month,
            seconds=wanted.seconds,
            days=wanted.days,
            seed=wanted.seed,
        )
    else:
        jobs = read_csv(wanted.arrivals, wanted.seconds)
    if not jobs:
        raise SettingsError("No job comes in so short a time: more --jobs or --days.")
    seconds = round(fmean(job.seconds for job in jobs), 9)  # of which the queue's length follows
    usual = chart(chart_values(), seconds)
    aim = wanted.wait or chart_values()["scaling"]["work"]["wait"]
    given = _circumstances(wanted, wanted.gpu_price)
    work = replace(by_work(usual, aim, given.pod_start), name="work")
    if wanted.spot_price is not None:
        yield from _by_capacity(wanted, jobs, limited(work, wanted.most_pods))
        return
    if wanted.models is not None:
        yield from _by_order(wanted, jobs, limited(work, wanted.most_pods), given)
        return
    if wanted.queues is not None:
        jobs = some_within(jobs, wanted.deadlines, wanted.within, wanted.seed)
        yield _counted(jobs)
        policy, rule, seed = limited(work, wanted.most_pods), wanted.queue_rule, wanted.seed
        yield from queue_table([*by_queues(jobs, policy, given, wanted.queues, rule, seed)])
        return
    outcomes = [
        Simulation(jobs, limited(policy, wanted.most_pods), given).run()
        for policy in (guidance(), before(), usual, work)
    ]
    yield f"{len(jobs):,} jobs"
    if wanted.wait is not None:
        advice = recommend(
            jobs,
            given,
            seconds=seconds,
            wait=wanted.wait,
            most=wanted.most_pods,
        )
        outcomes.append(advice.outcome)
        if values_file is not None:
            _write(values_file, values(advice.policy))
        if not advice.kept:
            yield f"No policy that was tried keeps a p95 of {wanted.wait:g} s: this is the nearest."
    outcomes.append(oracle(jobs, given))
    if plot is not None:
        drawn = picture(outcomes)
        _write(plot, drawn.png() if plot.suffix.lower() == ".png" else drawn.svg())
    yield from table(outcomes)


def _by_capacity(
    wanted: FleetPlan, jobs: Sequence[ExpectedJob], policy: FleetPolicy
) -> Iterator[str]:
    """The lines about spot and on demand; interruptions are of spot nodes only."""
    jobs = some_within(jobs, wanted.deadlines, wanted.within, wanted.seed)
    on_demand = replace(_circumstances(wanted, wanted.gpu_price), interruptions=0)
    spot = _circumstances(wanted, wanted.spot_price)
    yield _counted(jobs)
    yield from capacity_table(by_capacity(jobs, policy, on_demand, spot))


def _by_order(
    wanted: FleetPlan, jobs: Sequence[ExpectedJob], policy: FleetPolicy, given: Circumstances
) -> Iterator[str]:
    """The lines about orders of jobs, in a fleet that is scaled by work."""
    jobs = some_of_models(jobs, wanted.models or 1, wanted.seed)
    jobs = some_within(jobs, wanted.deadlines, wanted.within, wanted.seed)
    counts = Counter(job.model for job in jobs)
    changes = 1 - sum((count / len(jobs)) ** 2 for count in counts.values())
    policy = replace(policy, job_seconds=policy.job_seconds + wanted.switch * changes)
    yield _counted(jobs)
    yield from order_table(
        Simulation(
            jobs,
            replace(policy, name=f"look-ahead of {ahead}" if ahead > 1 else "first come"),
            given,
            order=JobOrder(ahead, wanted.switch),
        ).run()
        for ahead in (1, wanted.look_ahead)
    )


def _counted(jobs: Sequence[ExpectedJob]) -> str:
    return f"{len(jobs):,} jobs, {sum(job.within is not None for job in jobs):,} with a deadline"


def _circumstances(wanted: FleetPlan, price: float | None) -> Circumstances:
    usual = Circumstances().nodes
    by = 1.0 if price is None else price / usual[0].usd
    return Circumstances(
        nodes=tuple(GpuNode(node.gpus, node.usd * by) for node in usual),
        node_start=wanted.node_start,
        image_pull=wanted.image_pull,
        model_load=wanted.model_load,
        interruptions=wanted.interruptions,
        seed=wanted.seed,
    )


def _write(path: Path, content: str | bytes) -> None:
    try:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise SettingsError(f"{path}: {error}") from error
