"""When jobs come, and how long each keeps a GPU."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

from queue_agent.wire.errors import SettingsError

DAY: Final = 86_400.0
DAYS_A_MONTH: Final = 365 / 12
_LARGEST: Final = 1e12
"""Of the seconds in a file: beyond it they are none of this world."""


@dataclass(frozen=True, slots=True)
class ExpectedJob:
    """One job: `at` seconds after the start it comes, and works `seconds` on a GPU."""

    at: float
    seconds: float
    within: float | None = None
    """It is wanted so many seconds after it comes; None: whenever."""
    model: str = ""
    """Which has to be loaded for it; empty: it is not known, and nothing."""
    tenant: str = ""
    """Whose it is; empty: nobody's."""
    priority: str = ""
    """The queue it goes to, where there are several; empty: it does not say."""


class Shape(StrEnum):
    """How the jobs of a plan come."""

    DAILY = "daily"
    BURST = "burst"
    TAIL = "tail"
    LONG = "long"


def shaped(
    shape: Shape, *, jobs_a_month: float, seconds: float, days: float, seed: int
) -> Sequence[ExpectedJob]:
    """The jobs of one of the shapes; all but the daily curve have their own number of them.

    `burst`: 5,000 at once. `tail`: 2,000 at once, then one each 30 s for two hours. `long`: 20 at
    once, of 600 s each whatever `seconds` says.
    """
    if shape is Shape.DAILY:
        return list(daily(jobs_a_month, seconds, days=days, seed=seed))
    if shape is Shape.BURST:
        return [ExpectedJob(0.0, seconds)] * 5_000
    if shape is Shape.TAIL:
        trickle = (ExpectedJob(30.0 * number, seconds) for number in range(1, 241))
        return [*[ExpectedJob(0.0, seconds)] * 2_000, *trickle]
    return [ExpectedJob(0.0, 600.0)] * 20


def daily(
    jobs_a_month: float, seconds: float, *, days: float, seed: int, depth: float = 0.9
) -> Iterator[ExpectedJob]:
    """A Poisson process whose rate is a sine over the day, by thinning (Lewis and Shedler 1979).

    It begins at night: the rate is 1 - `depth` of its mean then, and 1 + `depth` at noon.
    """
    random = Random(seed)  # noqa: S311
    highest = jobs_a_month / (DAYS_A_MONTH * DAY) * (1 + depth)
    at = random.expovariate(highest)
    while at < days * DAY:
        present = (1 - depth * math.cos(2 * math.pi * at / DAY)) / (1 + depth)
        if random.random() < present:
            yield ExpectedJob(at, seconds)
        at += random.expovariate(highest)


def some_of_models(jobs: Sequence[ExpectedJob], models: int, seed: int) -> Sequence[ExpectedJob]:
    """The same jobs, each of a model drawn by Zipf's law; those that name theirs keep it."""
    random = Random(f"models {seed}")  # noqa: S311
    weights = [1 / rank for rank in range(1, models + 1)]
    chosen = random.choices(range(models), weights, k=len(jobs))
    return [
        job if job.model else replace(job, model=f"model-{number}")
        for job, number in zip(jobs, chosen, strict=True)
    ]


def some_of_priorities(
    jobs: Sequence[ExpectedJob], parts: Mapping[str, float], seed: int
) -> Sequence[ExpectedJob]:
    """The same jobs, each of a priority by its part of all; those that name theirs keep it."""
    random = Random(f"priorities {seed}")  # noqa: S311
    chosen = random.choices([*parts], [*parts.values()], k=len(jobs))
    return [
        job if job.priority else replace(job, priority=priority)
        for job, priority in zip(jobs, chosen, strict=True)
    ]


def read_csv(path: Path, seconds: float) -> Sequence[ExpectedJob]:
    """Jobs from a file: each row has the seconds at which one comes, and may have its length, the
    seconds within which it is wanted, its model, its tenant and its priority.

    A first row that is no number is a heading. Times may begin anywhere, in any order: the
    earliest is the start of the plan.

    Raises:
        SettingsError: it cannot be read, or a row holds something else.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [(number, row) for number, row in zip(count(1), csv.reader(file)) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path}: {error}") from error
    if rows and _number(rows[0][1][0]) is None:
        del rows[0]
    found = sorted((_parsed(path, number, row, seconds) for number, row in rows), key=_moment)
    if not found:
        raise SettingsError(f"{path}: no jobs in it")
    return [replace(job, at=job.at - found[0].at) for job in found]


def _parsed(path: Path, number: int, row: Sequence[str], seconds: float) -> ExpectedJob:
    length, within, model, tenant, priority = (cell.strip() for cell in (*row, *[""] * 5)[1:6])
    at, lasts, wanted = map(_number, (row[0], length or str(seconds), within or "1"))
    if (
        not (at is not None and lasts and wanted)
        or not abs(at) < _LARGEST
        or not all(0 < it < _LARGEST for it in (lasts, wanted))
    ):
        raise SettingsError(
            f"{path}, line {number}: not a time in seconds, a length, and one from the job to "
            f"its deadline: {row}"
        )
    return ExpectedJob(at, lasts, wanted if within else None, model, tenant, priority)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _moment(job: ExpectedJob) -> float:
    return job.at
