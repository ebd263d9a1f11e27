"""Hold what `queue-agent plan` predicts against real agents: 8 of them, whose GPUs only pass time.

    python -m benchmarks.planned                the table of docs/planning.md
    python -m benchmarks.planned --jobs 400 --seeds 2 --only models

The agents are the real ones, on a cloud in memory, in virtual time; the same jobs come to them and
to the simulation. Which agent gets a message is left to chance in both, so that figures differ from
run to run though all else is the same: of each seed's jobs there are several simulations, and the
error comes with twice its standard error over the seeds. What lies within that is chance.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from statistics import fmean, stdev
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.scheduling import zipf
from benchmarks.virtual_fleet import OrderOutcome, TimedJob, run_fleet
from queue_agent.planning.arrivals import ExpectedJob
from queue_agent.planning.nodes import Circumstances
from queue_agent.planning.ordering import ONE_QUEUE, JobOrder
from queue_agent.planning.outcome import FleetOutcome, nearest_rank
from queue_agent.planning.policy import fixed
from queue_agent.planning.simulation import Simulation
from queue_agent.worker.queue_order import Reserved, Weighted, strict

AGENTS: Final = 8
SECONDS: Final = 10.0
_SIMULATIONS: Final = 5
"""Of each seed's jobs."""
_WIDTH: Final = 120
_PRIORITIES: Final = {"high": 0.2, "normal": 0.4, "low": 0.4}
"""Parts of all jobs, where there are several queues."""
_NAMES: Final = tuple(_PRIORITIES)


@dataclass(frozen=True)
class PlannedCase:
    """Jobs, and how they are ordered."""

    name: str
    order: JobOrder = field(default_factory=JobOrder)
    load: float = 0.9
    """In parts of what the fleet can do, each job with a load of its model; 0: all at once."""
    models: int = 1
    spread: float = 0.0
    """Jobs take so much more or less than `SECONDS`, evenly."""
    deadlines: float = 0.0
    """The share that is wanted within half a minute to five minutes."""
    noisy: bool = False
    """Half of all jobs come at the start, and are of one tenant."""

    @property
    def by_priority(self) -> bool:
        """Whether there is a queue for each priority."""
        return self.order.queues is not ONE_QUEUE

    def jobs(self, count: int, seed: int) -> Sequence[TimedJob]:
        """By chance, the same for the same seed."""
        random, shares = Random(seed), zipf(self.models)  # noqa: S311  no secret
        each = SECONDS + self.order.switch * (1 - sum(share**2 for share in shares))
        at, found = 0.0, []
        for number in range(count):
            is_noisy = self.noisy and number < count // 2
            if self.load and not is_noisy:
                at += random.expovariate(self.load * AGENTS / each)
            (model,) = random.choices(range(self.models), shares)
            seconds = SECONDS * random.uniform(1 - self.spread, 1 + self.spread)
            within = random.uniform(30, 300) if random.random() < self.deadlines else None
            tenant = ("noisy" if is_noisy else f"quiet-{number % 20}") if self.noisy else ""
            (priority,) = random.choices(_NAMES, [*_PRIORITIES.values()])
            priority = priority if self.by_priority else ""
            found.append(TimedJob(at, seconds, f"model-{model}", within, tenant, priority))
        return found


CASES: Final = (
    PlannedCase("first come"),
    PlannedCase("first come, jobs of 5 to 15 s", spread=0.5),
    PlannedCase("all at once, jobs of 5 to 15 s", load=0, spread=0.5),
    PlannedCase("2 models, 20 s a switch", JobOrder(switch=20), models=2),
    PlannedCase("2 models, look-ahead of 8", JobOrder(8, 20), models=2),
    PlannedCase("2 models at once, look-ahead of 8", JobOrder(8, 20), load=0, models=2),
    PlannedCase("8 models, look-ahead of 8", JobOrder(8, 20), models=8),
    PlannedCase("8 models at once, look-ahead of 8", JobOrder(8, 20), load=0, models=8),
    PlannedCase("deadlines at 110 %, look-ahead of 8", JobOrder(8), load=1.1, deadlines=0.5),
    PlannedCase("half of it at the start, by one tenant", load=0.6, noisy=True),
    PlannedCase("3 queues at 110 %, strict", JobOrder(queues=strict(_NAMES)), load=1.1),
    PlannedCase(
        "3 queues at 110 %, weighted 6 : 3 : 1",
        JobOrder(queues=Weighted(_NAMES, {"high": 6, "normal": 3, "low": 1})),
        load=1.1,
    ),
    PlannedCase(
        "3 queues at 110 %, 20 % for normal and low",
        JobOrder(queues=Reserved(_NAMES, {"normal": 20, "low": 20})),
        load=1.1,
    ),
    PlannedCase("3 queues at 90 %, strict", JobOrder(queues=strict(_NAMES))),
)


def predicted(case: PlannedCase, jobs: Sequence[TimedJob], seed: int) -> FleetOutcome:
    """By the simulation, of a fleet that is there from the start and stays as it is."""
    expected = [
        ExpectedJob(job.at, job.seconds, job.within, job.model, job.tenant, job.priority)
        for job in jobs
    ]
    given = replace(Circumstances(), seed=seed)
    return Simulation(expected, fixed(AGENTS), given, order=case.order).run()


def done(case: PlannedCase, jobs: Sequence[TimedJob]) -> OrderOutcome:
    """By real agents."""
    order = case.order
    return run_fleet(
        jobs,
        agents=AGENTS,
        switch=order.switch,
        queues=order.queues if case.by_priority else None,
        look_ahead=order.look_ahead,
        by_deadline=order.by_deadline,
    )


@dataclass(frozen=True)
class Compared:
    """The jobs of one seed: what was predicted of them, by several simulations, and what came."""

    told: Sequence[FleetOutcome]
    seen: OrderOutcome


@dataclass(frozen=True)
class Figure:
    """What is compared of each."""

    name: str
    told: Callable[[FleetOutcome], float]
    seen: Callable[[OrderOutcome], float]

    def row(self, found: Sequence[Compared]) -> list[str]:
        """Means of what was predicted and measured, how far that is off, and how sure it is."""
        told = [fmean(map(self.told, one.told)) for one in found]
        seen = [self.seen(one.seen) for one in found]
        plan, truth = fmean(told), fmean(seen)
        if not truth:
            return [self.name, f"{plan:,.1f}", f"{truth:,.1f}", "", ""]
        differences = [one - other for one, other in zip(told, seen, strict=True)]
        unsure = stdev(differences) / math.sqrt(len(found)) if len(found) > 1 else math.nan
        return [
            self.name,
            f"{plan:,.1f}",
            f"{truth:,.1f}",
            f"{100 * (plan / truth - 1):+.1f} %",
            f"± {200 * unsure / truth:.1f} %",
        ]


def figures_of(case: PlannedCase) -> Iterator[Figure]:
    """Those that matter there."""
    yield Figure("mean wait, s", lambda it: it.mean_wait, lambda it: fmean(it.waits))
    yield Figure("p50 wait, s", lambda it: it.wait(50), lambda it: it.wait(50))
    yield Figure("p95 wait, s", lambda it: it.wait(95), lambda it: it.wait(95))
    if case.noisy:  # of the others, as long as the one is noisy
        yield Figure("p30 wait, s", lambda it: it.wait(30), lambda it: it.wait(30))
    yield Figure("done after, s", lambda it: it.ended, lambda it: it.lasted)
    yield Figure("GPU, s", lambda it: it.busy_seconds, lambda it: it.gpu_seconds)
    if case.order.switch:
        yield Figure("switches", lambda it: it.switches, lambda it: it.switches)
    if case.deadlines:
        yield Figure("missed", lambda it: it.missed, lambda it: it.missed)
    if case.by_priority:
        for name in _NAMES:
            yield _mean_of(name)
            yield _p95_of(name)


def _mean_of(name: str) -> Figure:
    return Figure(
        f"{name}: mean wait, s",
        lambda it: fmean(it.by_priority[name].waits),
        lambda it: fmean(it.waits_by_priority[name]),
    )


def _p95_of(name: str) -> Figure:
    return Figure(
        f"{name}: p95 wait, s",
        lambda it: it.by_priority[name].wait(95),
        lambda it: nearest_rank(sorted(it.waits_by_priority[name]), 95),
    )


def compared(case: PlannedCase, jobs: int, seed: int) -> Compared:
    """The jobs of one seed, simulated and done."""
    plan = case.jobs(jobs, seed)
    chances = range(seed * _SIMULATIONS, (seed + 1) * _SIMULATIONS)
    return Compared([predicted(case, plan, chance) for chance in chances], done(case, plan))


def main(
    jobs: Annotated[int, typer.Option(min=1)] = 800,
    seeds: Annotated[int, typer.Option(min=1)] = 8,
    only: Annotated[str, typer.Option(help="Cases with this in their names.")] = "",
) -> None:
    """Hold predictions against real agents."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    table = Table(
        *("case", "figure", "predicted", "measured", "off", "by chance"),
        title=f"{jobs} jobs of {SECONDS:g} s, {AGENTS} agents, means of {seeds} seeds",
    )
    for case in CASES:
        if only in case.name:
            found = [compared(case, jobs, seed) for seed in range(seeds)]
            for figure in figures_of(case):
                table.add_row(case.name, *figure.row(found))
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
