"""The function behind API Gateway sends jobs to spot or on demand."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError
from intake.capacity import CapacityChoice, SpotRuntime
from intake.settings import IntakeSettings

from queue_agent.client import make_job
from queue_agent.wire.capacity import SpotEstimate
from queue_agent.wire.job import Job

USUAL: Final = "https://sqs.eu-central-1.amazonaws.com/123456789012/sd"
HIGH: Final = f"{USUAL}-high"


class Queues:
    """Stands for the SDK's client; each queue holds so many messages."""

    def __init__(self, **waiting: int) -> None:
        self.waiting = {USUAL: waiting.get("usual", 0), HIGH: waiting.get("high", 0)}
        self.asked: list[str] = []
        self.refuses = False

    def get_queue_attributes(self, *, QueueUrl: str, **_: object) -> dict[str, Any]:  # noqa: N803
        self.asked.append(QueueUrl)
        if self.refuses:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetQueueAttributes")
        return {
            "Attributes": {
                "ApproximateNumberOfMessages": str(self.waiting[QueueUrl]),
                "ApproximateNumberOfMessagesNotVisible": "0",
            }
        }


def capacity(queues: Queues, now: list[float] | None = None) -> CapacityChoice:
    sd = SpotRuntime(SpotEstimate(10, 100), {"": USUAL, "high": HIGH})
    times = now or [0.0]
    return CapacityChoice({"sd": sd}, "eu-central-1", lambda *_: queues, lambda: times[0])


def job(seconds: float | None, **options: Any) -> Job:
    deadline = None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)
    return make_job({"prompt": "a"}, **{"runtime": "sd", "deadline": deadline, **options})


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (job(None), None),
        (job(3600), None),
        (job(1), "on-demand"),
        (job(-5), "on-demand"),
        (job(1, runtime="other"), None),
    ],
)
def test_near_deadlines_go_on_demand(asked: Job, expected: str | None) -> None:
    assert capacity(Queues()).chosen(asked).metadata.capacity_type == expected


def test_the_queue_of_the_jobs_priority_counts() -> None:
    choice = capacity(Queues(usual=100))
    assert choice.chosen(job(600)).metadata.capacity_type == "on-demand"
    assert choice.chosen(job(600, priority="low")).metadata.capacity_type == "on-demand"
    assert choice.chosen(job(600, priority="high")).metadata.capacity_type is None


def test_a_queue_is_asked_each_five_seconds_and_only_for_a_deadline() -> None:
    queues, now = Queues(), [0.0]
    choice = capacity(queues, now)
    choice.chosen(job(None))
    assert queues.asked == []
    for now[0] in (0.0, 4.9, 5.0, 9.0):
        choice.chosen(job(60))
    assert queues.asked == [USUAL] * 2


def test_a_queue_that_refuses_counts_as_empty() -> None:
    queues = Queues(usual=1000)
    queues.refuses = True
    assert capacity(queues).chosen(job(60)).metadata.capacity_type is None


def test_the_environment_says_which_runtimes_have_both() -> None:
    given = {
        "JOB_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:jobs",
        "RESULTS_BUCKET": "images",
        "RUNTIMES": json.dumps({"sd": ["output"]}),
    }
    assert IntakeSettings.read(given).spot == {}
    spot = {"job": 10, "start": 100, "on_demand_stays": True, "queues": {"": USUAL}}
    found = IntakeSettings.read({**given, "SPOT": json.dumps({"sd": spot})}).spot
    estimate = SpotEstimate(10, 100, on_demand_stays=True)
    assert found == {"sd": SpotRuntime(estimate, {"": USUAL})}
