"""Hold what `queue-agent plan` predicts against real agents: 8 of them, whose GPUs only pass time.

    python -m benchmarks.planned                the table of docs/planning.md
    python -m benchmarks.planned --jobs 400 --seeds 1

The agents are the real ones, on a cloud in memory, in virtual time; the same jobs come to them and
to the simulation. Each is run with several seeds, of the jobs and of chance, and figures are means.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import fmean
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.scheduling import zipf
from benchmarks.virtual_fleet import OrderOutcome, TimedJob, run_fleet
from queue_agent.planning.arrivals import ExpectedJob
from queue_agent.planning.nodes import Circumstances
from queue_agent.planning.ordering import JobOrder
from queue_agent.planning.outcome import FleetOutcome
from queue_agent.planning.policy import fixed
from queue_agent.planning.simulation import Simulation

AGENTS: Final = 8
SECONDS: Final = 10.0
_WIDTH: Final = 120


@dataclass(frozen=True)
class PlannedCase:
    """Jobs, and how they are ordered."""

    name: str
    order: JobOrder
    load: float = 0.9
    """In parts of what the fleet can do, each job with a load of its model; 0: all at once."""
    models: int = 1
    spread: float = 0.0
    """Jobs take so much more or less than `SECONDS`, evenly."""
    deadlines: float = 0.0
    """The share that is wanted within half a minute to five minutes."""
    noisy: bool = False
    """Half of all jobs come at the start, and are of one tenant."""

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
            found.append(TimedJob(at, seconds, f"model-{model}", within, tenant))
        return found


CASES: Final = (
    PlannedCase("first come", JobOrder()),
    PlannedCase("first come, jobs of 5 to 15 s", JobOrder(), spread=0.5),
    PlannedCase("all at once, jobs of 5 to 15 s", JobOrder(), load=0, spread=0.5),
    PlannedCase("2 models, 20 s a switch", JobOrder(switch=20), models=2),
    PlannedCase("2 models, look-ahead of 8", JobOrder(8, 20), models=2),
    PlannedCase("8 models, look-ahead of 8", JobOrder(8, 20), models=8),
    PlannedCase("8 models at once, look-ahead of 8", JobOrder(8, 20), load=0, models=8),
    PlannedCase("deadlines at 110 %, look-ahead of 8", JobOrder(8), load=1.1, deadlines=0.5),
    PlannedCase("half of it at the start, by one tenant", JobOrder(), load=0.6, noisy=True),
)


def predicted(case: PlannedCase, jobs: Sequence[TimedJob], seed: int) -> FleetOutcome:
    """By the simulation, of a fleet that is there from the start and stays as it is."""
    expected = [ExpectedJob(job.at, job.seconds, job.within, job.model, job.tenant) for job in jobs]
    given = replace(Circumstances(), seed=seed)
    return Simulation(expected, fixed(AGENTS), given, order=case.order).run()


def done(case: PlannedCase, jobs: Sequence[TimedJob]) -> OrderOutcome:
    """By real agents."""
    order = case.order
    return run_fleet(
        jobs,
        agents=AGENTS,
        switch=order.switch,
        look_ahead=order.look_ahead,
        by_deadline=order.by_deadline,
    )


Both = tuple[FleetOutcome, OrderOutcome]


def rows_of(case: PlannedCase, both: Sequence[Both]) -> Iterator[list[str]]:
    """The figures of one case, each predicted and measured."""

    def row(
        name: str, told: Callable[[FleetOutcome], float], seen: Callable[[OrderOutcome], float]
    ) -> list[str]:
        plan, truth = fmean(told(one) for one, _ in both), fmean(seen(one) for _, one in both)
        off = f"{100 * (plan / truth - 1):+.1f} %" if truth else ""
        return [case.name, name, f"{plan:,.1f}", f"{truth:,.1f}", off]

    yield row("mean wait, s", lambda it: it.mean_wait, lambda it: fmean(it.waits))
    yield row("p95 wait, s", lambda it: it.wait(95), lambda it: it.wait(95))
    if case.noisy:  # of the others, as long as the one is noisy
        yield row("p30 wait, s", lambda it: it.wait(30), lambda it: it.wait(30))
    yield row("done after, s", lambda it: it.ended, lambda it: it.lasted)
    yield row("GPU, s", lambda it: it.busy_seconds, lambda it: it.gpu_seconds)
    if case.order.switch:
        yield row("switches", lambda it: it.switches, lambda it: it.switches)
    if case.deadlines:
        yield row("missed", lambda it: it.missed, lambda it: it.missed)


def main(
    jobs: Annotated[int, typer.Option(min=1)] = 1200,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    only: Annotated[str, typer.Option(help="Cases with this in their names.")] = "",
) -> None:
    """Hold predictions against real agents."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    table = Table(
        *("case", "figure", "predicted", "measured", "off"),
        title=f"{jobs} jobs of {SECONDS:g} s, {AGENTS} agents, means of {seeds} seeds",
    )
    for case in CASES:
        if only in case.name:
            plans = [case.jobs(jobs, seed) for seed in range(seeds)]
            both = [
                (predicted(case, plan, seed), done(case, plan)) for seed, plan in enumerate(plans)
            ]
            for row in rows_of(case, both):
                table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
