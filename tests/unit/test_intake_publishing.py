"""What the HTTP function hands to the job topic."""

from typing import Any

import pytest
from intake.publishing import JobTopic

from queue_agent.wire.submission import make_job

JOB = make_job({"prompt": "x"}, runtime="r", job_id="job-a")


class ClientOfNothing:
    """Takes down what is published."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def publish(self, **asked: Any) -> None:
        self.asked.append(asked)


def published(arn: str, times: int = 1) -> list[dict[str, Any]]:
    client = ClientOfNothing()
    topic = JobTopic(arn, "results", lambda *_: client)
    for _ in range(times):
        topic.publish(JOB, None)
    return client.asked


def test_a_topic_that_keeps_an_order_is_told_the_group_and_takes_each_post() -> None:
    first, second = published("arn:aws:sns:us-east-1:1:jobs.fifo", times=2)
    assert first["MessageGroupId"] == second["MessageGroupId"] == "job-a"
    assert first["MessageDeduplicationId"] != second["MessageDeduplicationId"]


@pytest.mark.parametrize("arn", ["arn:aws:sns:us-east-1:1:jobs", "arn:aws:sns:us-east-1:1:fifo"])
def test_other_topics_are_told_neither(arn: str) -> None:
    (asked,) = published(arn)
    assert not {"MessageGroupId", "MessageDeduplicationId"} & asked.keys()
