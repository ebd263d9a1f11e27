"""The simulation of orders: models, deadlines, tenants; and real agents beside it."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import pytest
from typer.testing import CliRunner

from benchmarks.planned import CASES, done, predicted
from benchmarks.virtual_fleet import TimedJob, run_fleet
from queue_agent.cli.app import app
from queue_agent.planning.arrivals import ExpectedJob, daily, some_of_models
from queue_agent.planning.capacity import some_within
from queue_agent.planning.nodes import Circumstances
from queue_agent.planning.ordering import JobOrder
from queue_agent.planning.outcome import FleetOutcome
from queue_agent.planning.policy import chart, chart_values, fixed
from queue_agent.planning.simulation import Simulation


def ordered(jobs: Sequence[ExpectedJob], pods: int, order: JobOrder | None) -> FleetOutcome:
    policy = fixed(pods)
    return Simulation(jobs, policy, order=order).run()


def test_jobs_of_one_model_wait_about_as_long_as_where_pods_hold_nothing() -> None:
    jobs = [ExpectedJob(job.at, job.seconds) for job in CASES[0].jobs(2_000, 1)]
    plain, held = ordered(jobs, 8, None), ordered(jobs, 8, JobOrder())
    assert held.mean_wait == pytest.approx(plain.mean_wait, rel=0.1)
    assert held.ended == pytest.approx(plain.ended, rel=0.01)
    assert (held.switches, held.busy_seconds) == (0, plain.busy_seconds)


@pytest.mark.parametrize("models", [2, 8])
def test_a_look_ahead_saves_switches_where_jobs_wait(models: int) -> None:
    jobs = some_of_models([ExpectedJob(0.0, 10.0)] * 400, models, seed=1)
    first, ahead = (ordered(jobs, 4, JobOrder(size, switch=20)) for size in (1, 8))
    assert len(ahead.waits) == len(first.waits) == 400
    assert ahead.switches < 0.8 * first.switches
    assert ahead.ended < 0.95 * first.ended
    assert ahead.busy_seconds == pytest.approx(400 * 10 + ahead.switches * 20)


def test_what_is_wanted_sooner_goes_before_what_is_held() -> None:
    jobs = [ExpectedJob(0.0, 10.0, within=1_000.0) for _ in range(5)]
    jobs.insert(4, ExpectedJob(0.0, 10.0, within=45.0))
    by_deadline = ordered(jobs, 1, JobOrder(8))
    assert (by_deadline.with_deadline, by_deadline.missed) == (6, 0)
    assert ordered(jobs, 1, JobOrder(8, by_deadline=False)).missed == 1


def test_a_quiet_tenants_job_does_not_wait_for_all_of_a_noisy_ones() -> None:
    jobs = [ExpectedJob(0.0, 10.0, tenant="noisy") for _ in range(100)]
    jobs.append(ExpectedJob(60.0, 1.0, within=30.0, tenant="quiet"))
    assert ordered(jobs, 2, JobOrder()).missed == 0
    assert ordered([replace(job, tenant="") for job in jobs], 2, JobOrder()).missed == 1


def test_what_a_pod_that_goes_has_not_begun_is_done_by_others() -> None:
    jobs = some_of_models(list(daily(400_000, 10, days=0.2, seed=2)), 3, seed=2)
    policy = replace(chart(chart_values(), 10), grace=5)
    shaky = Circumstances(interruptions=20)
    outcome = Simulation(jobs, policy, shaky, order=JobOrder(8, switch=20)).run()
    assert len(outcome.waits) == len(jobs)
    assert outcome.killed > 0


def test_real_agents_do_about_what_is_predicted() -> None:
    case = next(one for one in CASES if one.name == "2 models, look-ahead of 8")
    jobs = case.jobs(60, 1)
    plan, truth = predicted(case, jobs, 1), done(case, jobs)
    assert plan.ended == pytest.approx(truth.lasted, rel=0.2)
    assert plan.busy_seconds == pytest.approx(truth.gpu_seconds, rel=0.2)


def test_a_busy_agent_leaves_a_job_that_comes_now_and_then_to_an_idle_one() -> None:
    """Polls that have waited long for their messages make no agent ask long before it is time."""
    alone = [TimedJob(15.0 * number, 10.0) for number in range(1, 9)]
    pairs = [TimedJob(at, 10.0) for start in range(200, 800, 30) for at in (start, start + 2)]
    outcome = run_fleet([*alone, *pairs], agents=2)
    # whoever never ran a job takes one ahead, once
    assert sum(wait > 0.001 for wait in outcome.waits) <= 2


def test_plan_compares_orders() -> None:
    result = CliRunner().invoke(
        app, ["plan", "--models", "2", "--jobs", "300000", "--days", "0.05", "--seconds", "10"]
    )
    assert result.exit_code == 0
    assert "| first come |" in result.output
    assert "| look-ahead of 8 |" in result.output


@pytest.mark.parametrize(
    "options",
    [
        ["--models", "2", "--spot-price", "0.4"],
        ["--models", "2", "--queues", "high=1,low=1"],
        ["--queues", "high=1,low=1", "--plot", "plan.svg"],
    ],
)
def test_one_thing_is_compared_at_a_time(options: list[str]) -> None:
    result = CliRunner().invoke(app, ["plan", *options])
    assert result.exit_code == 2


def test_models_and_deadlines_have_nothing_to_do_with_each_other() -> None:
    jobs = some_within(some_of_models([ExpectedJob(0.0, 10.0)] * 4_000, 2, 1), 0.5, 60.0, 1)
    shares = [
        fmean(job.within is not None for job in jobs if job.model == model)
        for model in ("model-0", "model-1")
    ]
    assert shares == pytest.approx([0.5, 0.5], abs=0.05)
