"""`queue-agent plan`: what a fleet would cost, and how long jobs would wait."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from queue_agent.planning.arrivals import Shape, read_csv, shaped
from queue_agent.planning.plot import png, svg
from queue_agent.planning.policy import before, by_work, chart, chart_values, guidance, limited
from queue_agent.planning.recommend import recommend, values
from queue_agent.planning.report import table
from queue_agent.planning.simulation import Circumstances, GpuNode, Simulation, oracle
from queue_agent.wire.errors import SettingsError


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
    most_pods: int
    wait: float | None
    seed: int


def plan(wanted: FleetPlan, *, plot: Path | None, values_file: Path | None) -> Iterator[str]:
    """The lines of the report; writes the files.

    Raises:
        SettingsError: the arrivals cannot be read, or a file cannot be written.
    """
    if wanted.arrivals is None:
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
    given = _circumstances(wanted)
    seconds = round(fmean(job.seconds for job in jobs), 9)  # of which the queue's length follows
    usual = chart(chart_values(), seconds)
    aim = wanted.wait or chart_values()["scaling"]["work"]["wait"]
    work = replace(by_work(usual, aim, given.pod_start), name="work")
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
        picture = svg(outcomes)
        _write(plot, png(picture) if plot.suffix.lower() == ".png" else picture)
    yield from table(outcomes)


def _circumstances(wanted: FleetPlan) -> Circumstances:
    usual = Circumstances().nodes
    by = 1.0 if wanted.gpu_price is None else wanted.gpu_price / usual[0].usd
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
