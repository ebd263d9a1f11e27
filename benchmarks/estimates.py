"""Measure how good estimates are that are told when jobs are submitted.

    python -m benchmarks.estimates                    the table of docs/estimates.md
    python -m benchmarks.estimates --hours 24 --seed 2

A mixed day: jobs of four models (Zipf's law), several sizes, steps and counts come by a daily
curve, in whose middle more come than the fleet can do. What a run takes has a fixed part, grows
faster than the pixels do, and is noisy: lognormal, and now and then it hangs for a while; another
model takes a while to load. Real agents on a cloud in memory learn and tell; real publishers read
it. GPUs only pass time, in virtual time. Agents know nothing at the start. All is done twice: where
agents do not know which model a job needs, and where they do, and so which runs began with a load.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean, median
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.figures import quantile
from benchmarks.scheduling import zipf
from benchmarks.virtual_fleet import EstimateAndTruth, TimedJob, run_fleet
from queue_agent.wire.estimate import Spread

AGENTS: Final = 4
SWITCH: Final = 8.0
_LOAD: Final = 0.7
"""Of what the fleet can do, on average; 1.6 times that at noon."""
_DEPTH: Final = 0.6
_DAY: Final = 86_400.0
_STEPS: Final = (15, 20, 25, 30, 40)
_SIDES: Final = ((512, 512), (768, 512), (768, 768), (1024, 1024), (1216, 832))
_COUNTS: Final = (1, 1, 1, 2, 4)
_FIXED: Final = (1.0, 1.5, 2.5, 4.0)
"""Seconds of each model's runs that do not depend on the work."""
_RATES: Final = (0.35, 0.4, 0.9, 2.0)
"""Seconds for a megapixel and step."""
_MORE_THAN_PIXELS: Final = 1.15
_NOISE: Final = 0.1
_HANGS: Final = 0.01
_HANGING: Final = 3.0
_WIDTH: Final = 130


@dataclass(frozen=True)
class MixedDay:
    """Jobs by chance, the same for the same seed."""

    hours: float
    seed: int

    def jobs(self) -> Iterator[TimedJob]:
        """In the order of their times."""
        random = Random(self.seed)  # noqa: S311  no secret
        sample = [self._one(0.0, random).seconds for _ in range(2_000)]
        mean = fmean(sample) + SWITCH / 2
        highest = _LOAD * (1 + _DEPTH) * AGENTS / mean
        at, length = 0.0, self.hours * 3600
        while (at := at + random.expovariate(highest)) < length:
            present = (1 - _DEPTH * math.cos(2 * math.pi * at / length)) / (1 + _DEPTH)
            if random.random() < present:
                yield self._one(at, random)

    @staticmethod
    def _one(at: float, random: Random) -> TimedJob:
        (model,) = random.choices(range(len(_RATES)), zipf(len(_RATES)))
        steps, count = random.choice(_STEPS), random.choice(_COUNTS)
        width, height = random.choice(_SIDES)
        pixels = (width * height / 1e6) ** _MORE_THAN_PIXELS
        seconds = _FIXED[model] + _RATES[model] * steps * pixels * count
        seconds *= random.lognormvariate(0.0, _NOISE)
        if random.random() < _HANGS:
            seconds *= _HANGING
        content = {"steps": steps, "width": width, "height": height, "batch_size": count}
        return TimedJob(at, seconds, f"model-{model}", content=content)


def errors_table(found: Sequence[EstimateAndTruth], title: str) -> Table:
    """Median and 90th percentile of the errors, and how many truths lie in the range."""
    table = Table(
        *("of the", "error p50", "p90", "in parts p50", "p90", "in the range", "truth p50", "p90"),
        title=f"{len(found)} jobs, {AGENTS} agents, {title}",
    )
    known = [one for one in found if one.told.start is not None and one.told.end is not None]
    table.add_row("GPU-seconds", *_cells(found, _gpu_seconds, lambda one: one.gpu_seconds))
    table.add_row("start", *_cells(known, _start, lambda one: one.start))
    table.add_row("end", *_cells(known, _end, lambda one: one.end))
    waiting = [one for one in known if one.start >= 60]
    if waiting:
        table.add_row(
            f"end, of {len(waiting)} that waited a minute",
            *_cells(waiting, _end, lambda one: one.end),
        )
    return table


def _gpu_seconds(one: EstimateAndTruth) -> Spread:
    return one.told.gpu_seconds


def _start(one: EstimateAndTruth) -> Spread:
    return one.told.start or one.told.run


def _end(one: EstimateAndTruth) -> Spread:
    return one.told.end or one.told.run


def _cells(
    found: Sequence[EstimateAndTruth],
    told: Callable[[EstimateAndTruth], Spread],
    truth: Callable[[EstimateAndTruth], float],
) -> Iterator[str]:
    errors = [abs(told(one).expected - truth(one)) for one in found]
    parts = [
        error / truth(one) for error, one in zip(errors, found, strict=True) if truth(one) >= 1
    ]
    inside = fmean(told(one).low <= truth(one) <= told(one).high for one in found)
    truths = list(map(truth, found))
    yield f"{median(errors):.1f} s"
    yield f"{quantile(errors, 0.9):.1f} s"
    yield f"{100 * median(parts):.0f} %"
    yield f"{100 * quantile(parts, 0.9):.0f} %"
    yield f"{100 * inside:.0f} %"
    yield f"{median(truths):.0f} s"
    yield f"{quantile(truths, 0.9):.0f} s"


def main(
    hours: Annotated[float, typer.Option(min=0.1, help="Into which the day is pressed.")] = 2,
    seed: Annotated[int, typer.Option()] = 1,
) -> None:
    """Measure how good estimates are."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    jobs = list(MixedDay(hours, seed).jobs())
    for models_known in (False, True):
        found = run_fleet(
            jobs,
            agents=AGENTS,
            switch=SWITCH,
            estimated=True,
            models_known=models_known,
            run_timeout=3600.0,
        ).estimates
        basis = [one.told.basis for one in found]
        told = ", ".join(f"{basis.count(name)} by the {name}" for name in dict.fromkeys(basis))
        title = "loads told apart" if models_known else "loads unknown"
        console.print(errors_table(found, title))
        console.print(f"Of them {told}.")


if __name__ == "__main__":
    typer.run(main)
