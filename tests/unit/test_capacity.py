"""Which jobs go to spot and which on demand: the rule, and two simulated fleets under it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queue_agent.planning.arrivals import ExpectedJob, daily
from queue_agent.planning.capacity import SplitSimulation, by_capacity, some_within
from queue_agent.planning.nodes import Circumstances, GpuNode
from queue_agent.planning.outcome import FleetOutcome
from queue_agent.planning.policy import FleetPolicy, chart, chart_values
from queue_agent.planning.simulation import Simulation
from queue_agent.wire.capacity import ON_DEMAND, SPOT, SPOT_WARNING, SpotEstimate, capacity_for

NOW: Final = datetime(2030, 1, 1, tzinfo=UTC)
DEMAND: Final = Circumstances(nodes=(GpuNode(1, 1.0),))
CHEAP: Final = replace(DEMAND, nodes=(GpuNode(1, 0.5),))

seconds = st.floats(0.1, 5000)
estimates = st.builds(
    SpotEstimate,
    job=seconds,
    start=seconds,
    on_demand_stays=st.booleans(),
    waiting=st.integers(0, 10_000),
    in_flight=st.integers(0, 500),
)


def within(slack: float) -> datetime:
    return NOW + timedelta(seconds=slack)


def policy(job_seconds: float) -> FleetPolicy:
    return chart(chart_values(), job_seconds)


@given(estimates)
def test_a_job_without_a_deadline_goes_to_spot(spot: SpotEstimate) -> None:
    assert capacity_for(None, NOW, spot) == SPOT


@given(estimates, st.floats(0.01, 1e6))
def test_what_has_time_enough_goes_to_spot_and_what_has_not_on_demand(
    spot: SpotEstimate, margin: float
) -> None:
    assert capacity_for(within(spot.longest + margin), NOW, spot) == SPOT
    assert capacity_for(within(spot.longest - margin), NOW, spot) == ON_DEMAND


@given(estimates, st.integers(1, 1000))
def test_a_longer_queue_makes_nothing_sooner_and_more_agents_nothing_later(
    spot: SpotEstimate, more: int
) -> None:
    assert replace(spot, waiting=spot.waiting + more).longest > spot.longest
    assert replace(spot, in_flight=spot.in_flight + more).longest <= spot.longest


def test_a_job_that_outlasts_the_warning_leaves_time_for_a_second_attempt() -> None:
    short, long = SpotEstimate(SPOT_WARNING, 100), SpotEstimate(SPOT_WARNING + 1, 100)
    assert short.longest == SPOT_WARNING
    assert long.longest == 2 * (SPOT_WARNING + 1) + 100


@pytest.mark.parametrize(
    ("in_flight", "stays", "longest"),
    [(0, False, 2), (0, True, 102), (3, True, 2)],
)
def test_the_start_of_a_spot_pod_counts_where_an_on_demand_pod_is_there(
    in_flight: int, *, stays: bool, longest: float
) -> None:
    spot = SpotEstimate(2, 100, on_demand_stays=stays, in_flight=in_flight)
    assert spot.longest == longest


def split(jobs: list[ExpectedJob], spot: Circumstances, job_seconds: float) -> FleetOutcome:
    return SplitSimulation(jobs, policy(job_seconds), DEMAND, spot).run()


def test_without_deadlines_and_reclaimed_nodes_two_fleets_cost_what_spot_does() -> None:
    jobs = list(daily(3_000_000, 2, days=0.05, seed=1))
    alone = Simulation(jobs, policy(2), CHEAP).run()
    both = split(jobs, CHEAP, 2)
    assert both.usd == alone.usd
    assert both.waits == alone.waits


def test_with_deadlines_that_are_all_near_two_fleets_cost_what_on_demand_does() -> None:
    jobs = [replace(job, within=300.0) for job in daily(100_000, 300, days=0.2, seed=1)]
    alone = Simulation(jobs, policy(300), DEMAND).run()
    both = split(jobs, CHEAP, 300)
    assert both.usd == alone.usd
    assert (both.missed, both.with_deadline) == (alone.missed, len(jobs))


def test_a_job_that_has_lost_two_attempts_on_spot_ends_on_demand() -> None:
    """Where nodes go within minutes, no job of an hour would ever end on spot."""
    hostile = replace(CHEAP, interruptions=20.0)
    outcome = split([ExpectedJob(0, 3600.0)] * 3, hostile, 3600)
    assert len(outcome.waits) == 3
    assert outcome.killed == 6
    assert max(outcome.waits) < 3600


def test_so_many_deadlines_are_drawn_and_those_that_are_said_stay() -> None:
    jobs = [ExpectedJob(0, 1), ExpectedJob(0, 1, 7)] * 1000
    some = some_within(jobs, 0.25, 60, seed=1)
    assert sum(job.within == 60 for job in some) == pytest.approx(250, abs=50)
    assert sum(job.within == 7 for job in some) == 1000
    assert some == some_within(jobs, 0.25, 60, seed=1)


def test_a_deadline_is_missed_by_what_ends_after_it() -> None:
    jobs = [ExpectedJob(1, 10, 100), ExpectedJob(1, 10, 300), ExpectedJob(1, 10)]
    outcome = Simulation(jobs, policy(10), DEMAND).run()
    assert (outcome.with_deadline, outcome.missed) == (2, 1), "pods start in two minutes"


def test_the_three_capacities_do_the_same_jobs() -> None:
    jobs = some_within(list(daily(1_000_000, 2, days=0.02, seed=1)), 0.2, 60, seed=1)
    outcomes = list(by_capacity(jobs, policy(2), DEMAND, replace(CHEAP, interruptions=1.0)))
    assert len({len(outcome.waits) for outcome in outcomes}) == 1
    assert len({outcome.with_deadline for outcome in outcomes}) == 1
