"""The simulation against what queueing theory and a published run say."""

import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from queue_agent.planning.arrivals import ExpectedJob
from queue_agent.planning.nodes import Circumstances
from queue_agent.planning.outcome import FleetOutcome
from queue_agent.planning.policy import HPA_DOWN, HPA_UP, fixed
from queue_agent.planning.simulation import Simulation

LOADS = [
    (3, 2.4),
    *(pytest.param(*load, marks=pytest.mark.sweep) for load in ((1, 0.7), (10, 8.0))),
]
"""Pods, and how many the jobs keep busy."""


def served(rate: float, mean: float, pods: int, *, random_lengths: bool) -> FleetOutcome:
    """200,000 jobs of a Poisson process at pods that are always there."""
    random = Random(7)  # noqa: S311
    at, jobs = 0.0, []
    for _ in range(200_000):
        at += random.expovariate(rate)
        jobs.append(ExpectedJob(at, random.expovariate(1 / mean) if random_lengths else mean))
    return Simulation(jobs, fixed(pods)).run()


def erlang_c(load: float, pods: int) -> float:
    """The share of jobs that wait in M/M/c, where `load` is in Erlang."""
    terms = [load**number / math.factorial(number) for number in range(pods)]
    last = load**pods / math.factorial(pods) * pods / (pods - load)
    return last / (sum(terms) + last)


def mean_wait_of_fixed_lengths(rate: float, length: float, pods: int) -> float:
    """M/D/c, exactly (Crommelin 1932): how many jobs there are, from one `length` to the next."""
    load, most = rate * length, 200
    comes = [math.exp(-load) * load**number / math.factorial(number) for number in range(100)]
    shares = [1.0, *[0.0] * (most - 1)]
    for _ in range(400):
        after = [0.0] * most
        for number, share in enumerate(shares):
            left = max(0, number - pods)
            for more, chance in enumerate(comes[: most - left]):
                after[left + more] += share * chance
        shares = after
    waiting = sum(share * max(0, number - pods) for number, share in enumerate(shares))
    return waiting / rate


@pytest.mark.parametrize(("pods", "load"), LOADS)
def test_random_lengths_wait_as_erlang_says(pods: int, load: float) -> None:
    outcome = served(load / 2.0, 2.0, pods, random_lengths=True)
    waiting = erlang_c(load, pods)
    assert outcome.mean_wait == pytest.approx(waiting * 2.0 / (pods - load), rel=0.05)
    share = sum(wait > 1e-6 for wait in outcome.waits) / len(outcome.waits)
    assert share == pytest.approx(waiting, rel=0.03)


@pytest.mark.parametrize(("pods", "load"), LOADS)
def test_fixed_lengths_wait_as_crommelin_says(pods: int, load: float) -> None:
    outcome = served(load / 2.0, 2.0, pods, random_lengths=False)
    assert outcome.mean_wait == pytest.approx(
        mean_wait_of_fixed_lengths(load / 2.0, 2.0, pods), rel=0.05
    )


def test_the_exact_wait_at_one_pod_is_that_of_pollaczek_and_khinchine() -> None:
    """Of what the test above compares with."""
    assert mean_wait_of_fixed_lengths(0.35, 2.0, 1) == pytest.approx(
        0.7 * 2.0 / (2 * (1 - 0.7)), rel=1e-6
    )


def knative(start: float) -> FleetOutcome:
    """50 requests of 10 s, 5 at a time, one to a pod; one pod stands, others start in `start`."""
    policy = replace(fixed(1), max_pods=10, sync=2, down=replace(HPA_DOWN, window=60), up=HPA_UP)
    circumstances = Circumstances(node_start=0, image_pull=0, model_load=start)
    jobs: Sequence[ExpectedJob] = [ExpectedJob(0, 10)] * 50
    return Simulation(jobs, policy, circumstances, clients=5).run()


def test_the_published_knative_run_is_met_by_pods_that_start_in_three_minutes() -> None:
    """252 s, and a job more or less is 10 s. The pods' start is not published: with one of nothing
    the run would take 100 s, with one that never ends 500 s."""
    assert knative(0).ended == pytest.approx(100, abs=10)
    assert knative(10_000).ended == pytest.approx(500)
    found = knative(180)
    assert found.ended == pytest.approx(252, abs=10)
    assert found.most_pods == 5
    # five clients that never rest: Little's law
    assert found.mean_wait + 10 == pytest.approx(5 * found.ended / 50, rel=0.05)


def test_the_same_seed_gives_the_same_outcome() -> None:
    given = Circumstances(interruptions=2.0, seed=3)
    jobs = [ExpectedJob(float(number), 20) for number in range(2000)]
    policy = replace(fixed(30), min_pods=0)
    first, second = (Simulation(jobs, policy, given).run() for _ in range(2))
    assert first == second
    assert Simulation(jobs, policy, replace(given, seed=4)).run() != first
