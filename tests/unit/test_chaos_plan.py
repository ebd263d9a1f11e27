"""The plan of a chaos run follows from its seed, and leaves nothing out."""

import pytest

from benchmarks.chaos_plan import CLOUDS, INNOCENT, FaultKind, Kind, Plan


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("seed", range(20))
def test_each_kind_of_job_and_of_fault_comes_up_in_the_shortest_run(seed: int, cloud: str) -> None:
    plan = Plan.of(seed, jobs=60, seconds=60, pods=3, cloud=cloud)
    assert {job.kind for job in plan.publications} == set(Kind)
    assert sum(job.kind in INNOCENT for job in plan.publications) > 30
    struck = [strike.fault for strike in plan.strikes[: len(CLOUDS[cloud])]]
    assert len(struck) == len(set(struck))
    assert set(struck) <= set(CLOUDS[cloud])


def test_refusals_last_from_ten_to_forty_seconds() -> None:
    strikes = Plan.of(1, jobs=10, seconds=900, pods=3).strikes
    refusals = [s.length for s in strikes if s.fault is FaultKind.CLOUD_REFUSES]
    assert min(refusals) >= 10
    assert max(refusals) <= 40


def test_the_same_seed_plans_the_same() -> None:
    assert Plan.of(7, jobs=99, seconds=50, pods=2) == Plan.of(7, jobs=99, seconds=50, pods=2)
    assert Plan.of(7, jobs=99, seconds=50, pods=2) != Plan.of(8, jobs=99, seconds=50, pods=2)
