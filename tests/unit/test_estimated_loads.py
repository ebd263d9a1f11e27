"""Loads of models, told apart from the runs that began with them."""

from collections.abc import Sequence

import pytest

from queue_agent.estimates.fit import estimate_run
from queue_agent.estimates.runs import SeenKind, SeenRun, SeenRuns
from queue_agent.wire.estimate import Spread
from queue_agent.wire.work import Work

LOAD = 8.0


def drawing(steps: float, model: str = "a") -> Work:
    return Work("text-to-image", model, amount=steps)


def took(work: Work, loads: bool | None, at: float = 0.0) -> SeenRun:
    """A run of a second and a fifth of one for each step, after a load where there was one."""
    seconds = 1 + 0.2 * (work.amount or 0) + LOAD * bool(loads)
    return SeenRun(at=at, amount=work.amount, seconds=seconds, gpu_seconds=seconds, loads=loads)


def seen(**models: Sequence[bool | None]) -> SeenRuns:
    """Runs of each model, some after loads, of ten to fourteen steps."""
    kinds = tuple(
        SeenKind(
            kind="text-to-image",
            model=model,
            runs=tuple(
                took(drawing(10 + number % 5, model), one, at=number)
                for number, one in enumerate(loads)
            ),
        )
        for model, loads in models.items()
    )
    return SeenRuns(kinds=kinds)


def told(known: SeenRuns, steps: float = 12, model: str = "a") -> Spread:
    return estimate_run(known, drawing(steps, model), usual=30).run


def test_a_run_that_may_begin_with_a_load_is_told_with_both_cases_in_its_range() -> None:
    run = told(seen(a=[True, False] * 10))
    assert run.low == pytest.approx(3.4, rel=0.1)
    assert run.high == pytest.approx(3.4 + LOAD, rel=0.1)
    assert run.low < run.expected < run.high


@pytest.mark.parametrize(("loads", "expected"), [(False, 3.4), (True, 3.4 + LOAD)])
def test_what_always_happens_is_expected(loads: bool, expected: float) -> None:
    run = told(seen(a=[loads] * 20, b=[True, False] * 5))
    assert run.expected == pytest.approx(expected, rel=0.1)
    assert run.high < 1.2 * expected


def test_the_likelier_a_load_the_longer_a_run_is_expected_to_be() -> None:
    seldom, evenly, often = (
        told(seen(a=[True] * loads + [False] * (20 - loads))).expected for loads in (4, 10, 16)
    )
    assert seldom < evenly - 1
    assert evenly < often - 1


def test_loads_do_not_hide_how_runs_grow_with_their_work() -> None:
    known = seen(a=[False, True, True, False, True] * 4)  # ten and thirteen steps without one
    with_load, without = 1 + 0.2 * 40 + LOAD, 1 + 0.2 * 40
    assert told(known, 40).expected == pytest.approx(with_load**0.6 * without**0.4, rel=0.05)


def test_what_a_load_takes_is_learned_from_other_models_where_all_runs_had_one() -> None:
    known = seen(a=[True] * 20, b=[True, False] * 5)
    # without the other, the load could as well be a part of the run
    assert told(known, 24).expected == pytest.approx(1 + 0.2 * 24 + LOAD, rel=0.1)


def test_a_model_that_was_never_run_is_expected_to_be_loaded() -> None:
    run = told(seen(b=[True, False] * 10), model="new")
    assert run.expected == pytest.approx(3.4 + LOAD, rel=0.1)


def test_where_agents_do_not_know_of_loads_all_of_a_run_counts() -> None:
    assert told(seen(a=[None] * 10)).expected == pytest.approx(3.4, rel=0.1)


def test_agents_of_earlier_versions_tell_nothing_of_loads() -> None:
    run = SeenRun.model_validate({"at": 1, "seconds": 2, "gpu_seconds": 2})
    assert run.loads is None
