"""Measure what the order of jobs is worth: models, and deadlines.

    python -m benchmarks.scheduling             all tables
    python -m benchmarks.scheduling models      jobs of several models that all wait from the start
    python -m benchmarks.scheduling arrivals    the same jobs, which come at random
    python -m benchmarks.scheduling deadlines --jobs 200 --seeds 1

Real agents on a cloud in memory, whose GPUs only pass time, in virtual time. All orders get the
same jobs at the same moments; figures are medians over the seeds. Which agent gets a message is
left to chance, as by SQS, so that they differ by a few percent from run to run.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from statistics import median
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.virtual_fleet import OrderOutcome, TimedJob, run_fleet

AGENTS: Final = 4
SECONDS: Final = 10.0
SWITCH: Final = 20.0
_LOAD: Final = 0.9
"""In parts of what the fleet can do where each job is done as it comes."""
_LOOK_AHEADS: Final = ((1, 60.0), (4, 60.0), (8, 60.0), (16, 60.0), (16, 300.0))
"""And the hold limits, in seconds."""
_WITH_DEADLINE: Final = 0.5
_OVERLOAD: Final = 1.1
"""The same while jobs with deadlines come: with less, none is missed by any order."""
_WITHIN: Final = (30.0, 300.0)
"""Seconds after the publication, evenly between these."""
_WIDTH: Final = 120


def zipf(models: int) -> list[float]:
    """How often each is asked for, by Zipf's law."""
    weights = [1 / rank for rank in range(1, models + 1)]
    return [weight / sum(weights) for weight in weights]


def mixed(models: int, jobs: int, seed: int, *, at_once: bool = False) -> list[TimedJob]:
    """Jobs of which each is of a model drawn by Zipf's law; they come at random, or `at_once`."""
    shares, random = zipf(models), Random(seed)  # noqa: S311  no secret
    each = SECONDS + SWITCH * (1 - sum(share**2 for share in shares))
    names = [f"model-{number}" for number in range(models)]
    chosen = random.choices(names, shares, k=jobs)
    times = [0.0] * jobs if at_once else [*_arrivals(each, jobs, random)]
    return [TimedJob(at, SECONDS, model) for at, model in zip(times, chosen, strict=True)]


def wanted_soon(jobs: int, seed: int, *, share: float = _WITH_DEADLINE) -> list[TimedJob]:
    """Jobs of one model that come at random, some of which have deadlines."""
    random = Random(seed)  # noqa: S311  no secret
    return [
        TimedJob(at, SECONDS, within=random.uniform(*_WITHIN) if random.random() < share else None)
        for at in _arrivals(SECONDS, jobs, random, load=_OVERLOAD)
    ]


def _arrivals(each: float, jobs: int, random: Random, *, load: float = _LOAD) -> Iterator[float]:
    at = 0.0
    for _ in range(jobs):
        at += random.expovariate(load * AGENTS / each)
        yield at


def _middle(figure: Callable[[OrderOutcome], float], outcomes: Sequence[OrderOutcome]) -> float:
    return median(map(figure, outcomes))


def models_table(jobs: int, seeds: int, *, at_once: bool = True) -> Table:
    """Switches, GPU-hours and waits, where jobs ask for different models."""
    come = "at once" if at_once else f"at {_LOAD:.0%}"
    table = Table(
        *("models", "look-ahead", "hold limit", "switches", "GPU-hours", ""),
        *("wait p50", "p95", ""),
        title=f"{jobs} jobs of {SECONDS:g} s {come}, {SWITCH:g} s a switch, {AGENTS} agents",
    )
    for models in (2, 8):
        plans = [mixed(models, jobs, seed, at_once=at_once) for seed in range(seeds)]
        base: Sequence[OrderOutcome] = ()
        for look_ahead, hold_limit in _LOOK_AHEADS:
            outcomes = [
                run_fleet(
                    plan,
                    agents=AGENTS,
                    switch=SWITCH,
                    look_ahead=look_ahead,
                    hold_limit=hold_limit,
                )
                for plan in plans
            ]
            base = base or outcomes
            held = f"{hold_limit:g} s"
            table.add_row(str(models), str(look_ahead), held, *_cells(outcomes, base))
    return table


def arrivals_table(jobs: int, seeds: int) -> Table:
    """The same, where jobs come at random."""
    return models_table(jobs, seeds, at_once=False)


def _cells(outcomes: Sequence[OrderOutcome], base: Sequence[OrderOutcome]) -> Iterator[str]:
    def change(figure: Callable[[OrderOutcome], float]) -> str:
        pairs = zip(outcomes, base, strict=True)
        return f"{100 * median(figure(one) / figure(of) - 1 for one, of in pairs):+.0f} %"

    def hours(outcome: OrderOutcome) -> float:
        return outcome.gpu_seconds / 3600

    def longest(outcome: OrderOutcome) -> float:
        return outcome.wait(95)

    yield f"{_middle(lambda outcome: outcome.switches, outcomes):.0f}"
    yield f"{_middle(hours, outcomes):.2f}"
    yield change(hours)
    yield f"{_middle(lambda outcome: outcome.wait(50), outcomes):.0f} s"
    yield f"{_middle(longest, outcomes):.0f} s"
    yield change(longest)


def deadlines_table(jobs: int, seeds: int) -> Table:
    """Missed deadlines by the order, and how long it all takes."""
    table = Table(
        *("with a deadline", "order", "look-ahead", "missed", "wait p50", "p95", "done after"),
        title=f"{jobs} jobs of {SECONDS:g} s at {_OVERLOAD:.0%}, {AGENTS} agents",
    )
    for share in (_WITH_DEADLINE, 0.0):
        plans = [wanted_soon(jobs, seed, share=share) for seed in range(seeds)]
        for by_deadline in (False, True):
            for look_ahead in (1, 8):
                outcomes = [
                    run_fleet(plan, agents=AGENTS, by_deadline=by_deadline, look_ahead=look_ahead)
                    for plan in plans
                ]
                table.add_row(
                    f"{share:.0%}",
                    "by deadline" if by_deadline else "first come",
                    str(look_ahead),
                    f"{_middle(_missed, outcomes):.1f} %",
                    f"{_middle(lambda outcome: outcome.wait(50), outcomes):.0f} s",
                    f"{_middle(lambda outcome: outcome.wait(95), outcomes):.0f} s",
                    f"{_middle(lambda outcome: outcome.lasted, outcomes):.0f} s",
                )
    return table


def _missed(outcome: OrderOutcome) -> float:
    return 100 * outcome.missed / max(1, outcome.with_deadline)


_TABLES: Final[Mapping[str, Callable[[int, int], Table]]] = {
    "models": models_table,
    "arrivals": arrivals_table,
    "deadlines": deadlines_table,
}


def main(
    tables: Annotated[list[str] | None, typer.Argument(help="models, arrivals, deadlines.")] = None,
    jobs: Annotated[int, typer.Option(min=1)] = 600,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Measure what the order of jobs is worth."""
    unknown = set(tables or ()) - set(_TABLES)
    if unknown:
        raise typer.BadParameter(f"no table {', '.join(sorted(unknown))}")
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    for name in tables or _TABLES:
        console.print(_TABLES[name](jobs, seeds))


if __name__ == "__main__":
    typer.run(main)
