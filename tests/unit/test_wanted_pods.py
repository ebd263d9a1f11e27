"""How many pods work wants, and what is learned for it."""

import random
from dataclasses import replace

import pytest

from queue_agent.planning.arrivals import ExpectedJob, Shape, shaped
from queue_agent.planning.policy import by_work, chart, chart_values, guidance, limited
from queue_agent.planning.simulation import Simulation
from queue_agent.scaling.decision import QueuedWork, ScalingAim, steady_pods, wanted_pods
from queue_agent.scaling.job_seconds import JobSeconds
from queue_agent.scaling.load import WINDOW, SteadyLoad, busy_pods
from queue_agent.scaling.tracker import WorkTracker

AIM = ScalingAim(wait=30, start=120, most=200)
NOTHING = QueuedWork(0, 0, 2.0, 0.0)


def some_work(seed: int) -> tuple[QueuedWork, ScalingAim, int]:
    pick = random.Random(seed)  # noqa: S311
    work = QueuedWork(
        waiting=pick.choice([0, 1, pick.randrange(50), pick.randrange(100_000)]),
        in_flight=pick.choice([0, 1, pick.randrange(50), pick.randrange(500)]),
        job_seconds=10 ** pick.uniform(-2, 4),
        load=pick.choice([None, 0.0, pick.uniform(0, 3), 10 ** pick.uniform(-3, 4)]),
    )
    aim = ScalingAim(10 ** pick.uniform(-1, 3), pick.uniform(0, 600), pick.choice([1, 10, 1000]))
    return work, aim, pick.choice([0, pick.randrange(20), pick.randrange(2000)])


SEEDS = range(500)


def test_it_is_never_below_none_nor_above_the_most() -> None:
    for seed in SEEDS:
        work, aim, asked = some_work(seed)
        assert 0 <= wanted_pods(work, aim, asked) <= aim.most


def test_no_more_pods_than_jobs_are_wanted_beside_those_of_the_steady_load() -> None:
    for seed in SEEDS:
        work, aim, asked = some_work(seed)
        if work.load is not None:
            steady = steady_pods(work.load, work.job_seconds, aim)
            most = max(steady, work.waiting + work.in_flight)
            assert wanted_pods(work, aim, asked) <= most


@pytest.mark.parametrize("more", ["waiting", "in_flight", "load", "job_seconds"])
def test_more_work_never_wants_fewer_pods(more: str) -> None:
    for seed in SEEDS:
        work, aim, asked = some_work(seed)
        value = getattr(work, more)
        if value is not None:
            larger = replace(work, **{more: value + 1})
            assert wanted_pods(larger, aim, asked) >= wanted_pods(work, aim, asked)


def test_more_that_were_asked_for_never_make_it_fewer() -> None:
    for seed in SEEDS:
        work, aim, asked = some_work(seed)
        assert wanted_pods(work, aim, asked + 1) >= wanted_pods(work, aim, asked)


def test_a_longer_wait_never_wants_more_pods() -> None:
    for seed in SEEDS:
        work, aim, _ = some_work(seed)
        patient = replace(aim, wait=aim.wait * 1.5)
        assert wanted_pods(work, patient) <= wanted_pods(work, aim)


def test_nothing_is_wanted_where_nothing_is_and_nothing_comes() -> None:
    assert wanted_pods(NOTHING, AIM) == 0
    assert wanted_pods(NOTHING, AIM, asked=100) == 0


def test_one_job_wants_a_pod_whatever_else() -> None:
    for seed in SEEDS:
        work, aim, _ = some_work(seed)
        for one in (replace(work, waiting=1), replace(work, in_flight=1)):
            assert wanted_pods(one, aim) >= 1


def test_every_pod_that_works_on_a_long_job_is_wanted() -> None:
    for busy in range(1, 50):
        for load in (None, 0.0, 1.0):
            assert wanted_pods(QueuedWork(0, busy, 600.0, load), AIM) >= busy


def test_long_jobs_want_a_pod_each() -> None:
    assert wanted_pods(QueuedWork(20, 0, 600.0, None), AIM) == 20


def test_short_jobs_share_pods_that_are_worth_their_start() -> None:
    assert wanted_pods(QueuedWork(5000, 0, 2.0, 0.0), AIM) == 167  # 10,000 s, 60 s for each
    assert wanted_pods(QueuedWork(5000, 0, 2.0, 0.0), replace(AIM, wait=100)) == 100


def test_pods_stay_until_little_is_left_for_each() -> None:
    asked, found = 0, []
    for waiting in (5000, 3000, 2500, 1000, 15, 0):
        asked = wanted_pods(QueuedWork(waiting, 10, 2.0, 0.0), AIM, asked)
        found.append(asked)
    assert found == [167, 167, 167, 68, 2, 1]


@pytest.mark.parametrize(("load", "pods"), [(0.01, 1), (0.76, 1), (0.95, 2), (1.45, 2), (7.0, 8)])
def test_a_steady_load_has_the_pods_at_which_it_waits_as_is_wanted(load: float, pods: int) -> None:
    assert steady_pods(load, 2.0, AIM) == pods


@pytest.mark.parametrize(("load", "seconds"), [(0.7, 2.0), (2.4, 20.0), (8.0, 5.0)])
def test_with_these_pods_95_percent_wait_no_longer(load: float, seconds: float) -> None:
    """By the simulation, whose waits are held against M/D/c elsewhere."""
    pods = steady_pods(load, seconds, AIM)
    pick, at, jobs = random.Random(5), 0.0, []  # noqa: S311
    for _ in range(20_000):
        at += pick.expovariate(load / seconds)
        jobs.append(ExpectedJob(at, seconds))
    policy = replace(guidance(), min_pods=pods, max_pods=pods)
    assert Simulation(jobs, policy).run().wait(95) <= AIM.wait


# What is remembered


def looked(load: SteadyLoad, looks: list[tuple[int, int]], *, seconds: float = 2.0) -> list[float]:
    """The loads at looks each 5 s, of pods that are busy and jobs that there are."""
    found = [
        load.look(5.0 * number, busy=busy, held=held, seconds=seconds)
        for number, (busy, held) in enumerate(looks)
    ]
    return [-1.0 if it is None else it for it in found]


def test_a_load_is_what_pods_do_and_what_is_left_undone() -> None:
    kept_up = looked(SteadyLoad(), [(3, 3)] * 200)
    assert kept_up[-1] == pytest.approx(3)
    left_behind = looked(SteadyLoad(), [(3, 5 * number) for number in range(200)])
    assert left_behind[-1] == pytest.approx(3 + 2)


def test_at_first_nothing_is_known_of_the_load() -> None:
    found = looked(SteadyLoad(), [(3, 3)] * 200)
    assert found[11] == -1
    assert found[12] == pytest.approx(3)
    assert looked(SteadyLoad(), [(3, 3)] * 100, seconds=240.0)[95] == -1


def test_a_burst_is_no_load() -> None:
    quiet = [(0, 0)] * 200
    burst = [(100, 5000 - 250 * number) for number in range(20)]
    assert max(looked(SteadyLoad(), [*quiet, *burst, *quiet])) == pytest.approx(0, abs=0.01)


def test_what_ceases_to_come_is_forgotten_within_two_windows() -> None:
    quiet = [(0, 0)] * int(2 * WINDOW / 5 + 1)
    assert looked(SteadyLoad(), [*[(3, 3)] * 200, *quiet])[-1] == 0


def test_a_pod_has_two_messages_at_most() -> None:
    assert [busy_pods(3, 10, asked) for asked in (0, 5, 8, 20)] == [5, 5, 8, 10]
    assert [busy_pods(waiting, 10, None) for waiting in (0, 3)] == [10, 5]


def test_a_tracker_that_is_lost_knows_soon_what_is_wanted() -> None:
    old, new = WorkTracker(AIM), WorkTracker(AIM)
    for number in range(200):
        old.look(5.0 * number, 0, 8, 2.0)
    found = []
    for number in range(200, 400):
        old.look(5.0 * number, 0, 8, 2.0)
        new.look(5.0 * number, 0, 8, 2.0)
        found.append(new.pods)
    assert old.pods == 9
    assert set(found[12:]) == {9}


def test_kinds_count_by_how_common_they_are_among_the_last() -> None:
    learned = JobSeconds(6.0)
    assert (learned.mean, learned.by_kind) == (6.0, {})
    for _ in range(50):
        learned.learn("text-to-image", 2.0)
        learned.learn("text-to-video", 100.0)
    assert learned.mean == pytest.approx(51)
    for _ in range(100):
        learned.learn("text-to-image", 2.0)
    assert learned.mean == pytest.approx(2)
    assert learned.by_kind == {"text-to-image": 2.0, "text-to-video": 100.0}


def test_a_kind_takes_what_its_last_jobs_took() -> None:
    learned = JobSeconds(6.0)
    for seconds in [50.0] * 20 + [2.0] * 20:
        learned.learn("text-to-image", seconds)
    assert learned.mean == pytest.approx(2)


def test_many_kinds_are_no_end_of_memory() -> None:
    learned = JobSeconds(6.0)
    for number in range(1000):
        learned.learn(f"kind-{number}", 1.0)
    assert len(learned.by_kind) <= 64
    assert learned.mean == pytest.approx(1)


# In the simulation


def outcomes(shape: Shape, seconds: float, days: float = 1.0) -> dict[str, tuple[float, float]]:
    """USD for 1,000 jobs, and the wait of 95 %, by policy."""
    jobs = shaped(shape, jobs_a_month=1_000_000, seconds=seconds, days=days, seed=1)
    usual = chart(chart_values(), seconds)
    found = {}
    for policy in (guidance(), usual, replace(by_work(usual, 30, 120), name="work")):
        outcome = Simulation(jobs, limited(policy, 200)).run()
        assert not outcome.killed or policy.name == "guidance"
        found[policy.name] = (outcome.usd_per_1000, outcome.wait(95))
    return found


def test_a_day_costs_less_by_work_and_waits_less() -> None:
    found = outcomes(Shape.DAILY, 2)
    usd, wait = found["work"]
    assert usd <= 0.85 * found["guidance"][0]
    assert wait < found["guidance"][1]
    assert usd < found["chart"][0]
    assert wait < found["chart"][1] / 3


@pytest.mark.parametrize("shape", [Shape.BURST, Shape.TAIL])
def test_hard_cases_cost_hardly_more_by_work_than_by_the_guidance(shape: Shape) -> None:
    found = outcomes(shape, 2)
    assert found["work"][0] <= 1.1 * found["guidance"][0]


def test_no_busy_pod_is_killed_by_work() -> None:
    outcomes(Shape.LONG, 600)
