"""Messages that ask for nothing are told from jobs by their shapes, and no job is taken for one."""

import json

import pytest

from foreign_bodies import FOREIGN, JOB, RESEMBLING, cloud_event, event_bridge, sns
from queue_agent.wire.errors import Malformed, NoJob
from queue_agent.wire.foreign import ForeignKind, foreign_kind
from queue_agent.wire.job import Job
from queue_agent.wire.message import read_message


@pytest.mark.parametrize("name", FOREIGN)
def test_what_asks_for_nothing_is_known_by_its_shape(name: str) -> None:
    kind, body = FOREIGN[name]
    for wrapped in (body, sns(body)):
        with pytest.raises(NoJob) as ignored:
            read_message(wrapped)
        assert ignored.value.type == kind


def test_every_kind_has_a_sample() -> None:
    assert {kind for kind, _ in FOREIGN.values()} == set(ForeignKind)


@pytest.mark.parametrize("name", RESEMBLING)
def test_a_job_is_no_less_one_for_what_else_it_has(name: str) -> None:
    job, task = RESEMBLING[name], {**RESEMBLING[name], "task": JOB}
    for body in (json.dumps(job), sns(json.dumps(job)), event_bridge(job), json.dumps(task)):
        found = read_message(body)
        assert isinstance(found, Job)
        assert found.content == JOB["content"]


@pytest.mark.parametrize(
    "body",
    [
        {"runtime": "r", "id": "a", "status": "new", "version": "1", "result": False, "prompt": ""},
        {"runtime": "r", "id": "a", "result": True},
        {"runtime": "r", "id": "a", "status": "completed"},
        {"id": "a", "status": "completed", "result": True, "version": "1"},
        {"version": "1", "status": "completed", "result": True, "metadata": JOB["metadata"]},
        {"message_id": "a", "body": "{}"},
        {"Records": []},
        {"Records": [{"eventSource": "aws:sqs", "body": "no job"}]},
        {"Records": [{"eventSource": "aws:s3"}, {"eventSource": "aws:sqs"}]},
        {"Records": "aws:s3"},
        {"events": [{}]},
        {"Type": ["SubscriptionConfirmation"], "TopicArn": "arn"},
        {"Type": "SubscriptionConfirmation"},
        {"Event": "s3:TestEvent"},
        {"Event": {"s3": "TestEvent"}, "Bucket": "b"},
        {"EventName": "s3:ObjectCreated:Put", "Key": {}},
        {"EventName": "order", "Key": "k"},
        {"action": "PutObject", "bucket": "b", "object": "k"},
        {"kind": "storage#object"},
        {"s3": {"bucket": "b"}},
        {"metadata": JOB["metadata"], "Bucket": "results"},
        json.loads(event_bridge({}, source="aws.s3", kind="Object Created")),
        json.loads(cloud_event(data={"status": "completed"})),
    ],
)
def test_what_only_resembles_it_is_answered(body: object) -> None:
    assert foreign_kind(body) is None  # type: ignore[arg-type]
    with pytest.raises(Malformed):
        read_message(json.dumps(body))


def test_a_broken_job_beside_a_notifications_fields_is_answered_by_its_id() -> None:
    told = json.loads(FOREIGN["completed"][1])
    with pytest.raises(Malformed) as error:
        read_message(json.dumps({**told, "metadata": JOB["metadata"]}))
    assert error.value.details["id"] == "order-1"
