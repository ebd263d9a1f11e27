"""Messages that ask for nothing are told from jobs by their shapes, and no job is taken for one."""

import base64
import json

import pytest

from foreign_bodies import (
    FOREIGN,
    JOB,
    NAMED,
    OPENED,
    POINTERS,
    RESEMBLING,
    cloud_event,
    event_bridge,
    sns,
)
from queue_agent.wire.errors import Malformed, NoJob
from queue_agent.wire.foreign import ForeignKind, foreign_kind
from queue_agent.wire.job import Job, parse_job
from queue_agent.wire.message import read_message
from queue_agent.wire.pointer import PayloadPointer


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
    with pytest.raises(Malformed, match="list of jobs"):
        read_message(json.dumps([job]))
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


@pytest.mark.parametrize("name", OPENED)
def test_a_job_is_found_in_what_others_put_around_it(name: str) -> None:
    assert read_message(OPENED[name]) == parse_job(json.dumps(JOB))


@pytest.mark.parametrize("name", POINTERS)
def test_a_pointer_of_any_library_is_read(name: str) -> None:
    assert read_message(POINTERS[name]) == PayloadPointer("results", "payloads/a.json")


@pytest.mark.parametrize(
    "body", ["payloads/a.json", "(results)payloads/a.json", " payloads/a.json"]
)
def test_a_pointer_in_an_attribute_is_read(body: str) -> None:
    attributes = {"S3MessageBodyKey": "(results)payloads/a.json"}
    assert read_message(body, attributes) == PayloadPointer("results", "payloads/a.json")
    assert isinstance(read_message(json.dumps(JOB), attributes), Job), "the body comes first"


@pytest.mark.parametrize("value", ["results/payloads/a.json", "()a", "(a)", ""])
def test_an_attribute_that_is_no_pointer_leads_nowhere(value: str) -> None:
    with pytest.raises(Malformed):
        read_message("payloads/a.json", {"S3MessageBodyKey": value})


@pytest.mark.parametrize(
    "body",
    [
        {"S3Payload": {"Bucket": "results"}},
        {"S3Payload": {"Bucket": ["results"], "Key": "payloads/a.json"}},
        {"s3BucketName": "", "s3Key": "payloads/a.json"},
        ["x", {"s3BucketName": "results", "s3Key": 7}],
        ["software.amazon.payloadoffloading.PayloadS3Pointer", "results"],
        ["software.amazon.payloadoffloading.PayloadS3Pointer", {}],
    ],
)
def test_a_pointer_that_names_no_place_is_told_so(body: object) -> None:
    with pytest.raises(Malformed, match="pointer"):
        read_message(json.dumps(body))


@pytest.mark.parametrize("name", NAMED)
def test_what_is_not_opened_is_called_by_its_name(name: str) -> None:
    word, body = NAMED[name]
    with pytest.raises(Malformed, match=word) as error:
        read_message(body)
    assert error.value.type == "invalid_message"


@pytest.mark.parametrize("name", NAMED)
def test_what_is_not_opened_is_repeated_nowhere_in_its_name(name: str) -> None:
    _, body = NAMED[name]
    with pytest.raises(Malformed) as error:
        read_message(body.replace("lighthouse", "s3cr3t").replace('"a"', '"s3cr3t"'))
    assert "s3cr3t" not in error.value.message


def test_a_job_gone_wrong_is_answered_by_its_id_whatever_is_around_it() -> None:
    metadata = {**JOB["metadata"], "prefix": "gateway", "context": 5}
    job = {**JOB, "metadata": metadata}
    for body in (json.dumps(job), event_bridge(job), sns(cloud_event(data=json.dumps(job)))):
        with pytest.raises(Malformed) as error:
            read_message(body)
        assert error.value.details == {"id": "order-1", "context": 5}


def test_one_that_has_no_content_is_told_what_it_lacks() -> None:
    bodies: list[object] = [
        {"metadata": JOB["metadata"]},
        {"metadata": {"id": "a"}},
        {"content": {}},
    ]
    for body in bodies:
        with pytest.raises(Malformed, match="Field required"):
            read_message(json.dumps(body))


def test_base64_of_a_job_is_read_in_either_alphabet_with_blanks_and_a_mark() -> None:
    job = {
        "metadata": {"id": "order-1", "tasktype": "text-to-image"},
        "content": {"prompt": "ÿþ~?>¿ÿ"},
    }
    data = json.dumps(job, ensure_ascii=False).encode()
    urls = base64.urlsafe_b64encode(data + b" " * (-len(data) % 3)).decode()
    assert {"-", "_"} & set(urls)
    plain = base64.b64encode(b"\xef\xbb\xbf" + data).decode()
    for text in (urls, f"\n {urls}\n", plain, f"  {plain}"):
        read = read_message(text)
        assert isinstance(read, Job)
        assert read.content == job["content"]


def test_a_long_text_of_line_breaks_is_answered_at_once() -> None:
    with pytest.raises(Malformed):
        read_message("\n" * 2**20 + "!")
