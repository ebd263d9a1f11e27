"""The simulation of agents that serve several queues; and real agents beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import pytest
from typer.testing import CliRunner

from benchmarks.planned import CASES, compared
from queue_agent.cli.app import app
from queue_agent.planning.arrivals import ExpectedJob
from queue_agent.planning.ordering import JobOrder
from queue_agent.planning.outcome import FleetOutcome
from queue_agent.planning.policy import fixed
from queue_agent.planning.priorities import QueueParts, parts_of
from queue_agent.planning.simulation import Simulation
from queue_agent.wire.errors import SettingsError
from queue_agent.worker.queue_order import QueueRule, by_rule

NAMES = ("high", "normal", "low")
HOUR = 3600.0
EVERY = {"high": 30.0, "normal": 15.0, "low": 15.0}
"""Seconds between two jobs of a queue, as where docs/scheduling.md measures rules."""


def served(
    jobs: Sequence[ExpectedJob], rule: QueueRule, shares: Mapping[str, int], pods: int = 1
) -> FleetOutcome:
    order = JobOrder(queues=by_rule(rule, NAMES, shares))
    return Simulation(jobs, fixed(pods), order=order).run()


def an_hour() -> list[ExpectedJob]:
    jobs = [
        ExpectedJob(number * every, 10.0, priority=name)
        for name, every in EVERY.items()
        for number in range(int(HOUR / every))
    ]
    return sorted(jobs, key=lambda job: job.at)


@pytest.mark.parametrize(
    ("rule", "shares", "expected"),
    [
        ("strict", {}, {"high": (120, 10), "normal": (221, 140), "low": (18, 1572)}),
        (
            "weighted",
            {"high": 6, "normal": 3, "low": 1},
            {"high": (120, 10), "normal": (179, 450), "low": (60, 1347)},
        ),
        (
            "reserved",
            {"normal": 20, "low": 20},
            {"high": (120, 10), "normal": (167, 545), "low": (72, 1242)},
        ),
    ],
)
def test_an_hour_of_one_agent_is_predicted_as_it_was_measured(
    rule: QueueRule, shares: Mapping[str, int], expected: Mapping[str, tuple[int, float]]
) -> None:
    outcome = served(an_hour(), rule, shares)
    for name, (count, wait) in expected.items():
        # what is done later than within the hour has waited longer than all else of its queue
        begun = outcome.by_priority[name].waits[:count]
        assert median(begun) == pytest.approx(wait, rel=0.07, abs=5)


def test_a_burst_of_the_urgent_leaves_a_share_to_the_others() -> None:
    jobs = [ExpectedJob(0.0, 10.0, priority="high")] * 200
    jobs += [ExpectedJob(0.0, 10.0, priority="low")] * 20
    strictly, half = served(jobs, "strict", {}), served(jobs, "reserved", {"low": 50})
    assert max(half.by_priority["low"].waits) < 0.4 * max(strictly.by_priority["low"].waits)
    assert strictly.ended == half.ended == 2_200


def test_jobs_of_one_queue_wait_as_long_as_if_there_were_no_other() -> None:
    jobs = [ExpectedJob(job.at, job.seconds, priority="low") for job in CASES[0].jobs(400, 1)]
    alone = Simulation(jobs, fixed(8), order=JobOrder()).run()
    assert served(jobs, "strict", {}, pods=8).mean_wait == pytest.approx(alone.mean_wait, rel=0.1)


def test_real_agents_of_several_queues_do_about_what_is_predicted() -> None:
    case = next(one for one in CASES if one.name == "3 queues at 110 %, strict")
    found = compared(case, 120, 1)
    for told in found.told:
        assert told.ended == pytest.approx(found.seen.lasted, rel=0.1)
        for name, queue in told.by_priority.items():
            assert len(queue.waits) == len(found.seen.waits_by_priority[name])


def test_parts_of_the_jobs_are_told_as_queues_are() -> None:
    assert parts_of("high:6=0.2, low=.8") == QueueParts({"high": 0.2, "low": 0.8}, {"high": 6})


@pytest.mark.parametrize(
    "text", ["high", "high=1", "high=0,low=0", "high=1,high=2", "high:0=1,low=1", "High=1,low=1"]
)
def test_what_tells_no_queues_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--queues"):
        parts_of(text)


def plan(*options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["plan", "--seconds", "10", *options])
    return result.exit_code, f"{result.output}{result.exception or ''}"


def test_plan_compares_several_queues_with_one_for_all() -> None:
    small = ("--jobs", "300000", "--days", "0.05")
    code, output = plan("--queues", "high=0.2,low=0.8", "--queue-rule", "weighted", *small)
    assert code == 0
    rows = [line.split("|")[1:3] for line in output.splitlines() if line.startswith("|")][2:]
    assert [[cell.strip() for cell in row] for row in rows] == [
        [kind, name] for kind in ("one queue", "weighted") for name in ("all", "high", "low")
    ]


def test_jobs_of_a_file_may_say_their_priority(tmp_path: Path) -> None:
    arrivals = tmp_path / "jobs.csv"
    arrivals.write_text("at,seconds,within,model,tenant,priority\n0,5,,,,high\n1,5,,,,other\n")
    told = ("--arrivals", str(arrivals), "--queues")
    code, output = plan(*told, "high=1,other=1")
    assert code == 0
    assert "| strict | other | 1 |" in output
    code, output = plan(*told, "high=1,low=1")
    assert code != 0
    assert "'other'" in output


def test_no_more_is_reserved_than_there_is() -> None:
    code, output = plan("--queues", "high:60=1,low:50=1", "--queue-rule", "reserved")
    assert code != 0
    assert "100 %" in output
