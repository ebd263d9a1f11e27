"""The job and what transport puts around it."""

import json

import pytest

from queue_agent.wire.errors import Malformed
from queue_agent.wire.job import PayloadPointer, find_pointer, open_envelope, parse_job
from queue_agent.wire.layout import RESERVED, ResultKeys

METADATA = {"id": "order-7f3a", "tasktype": "text-to-image", "prefix": "output"}
JOB = {"metadata": METADATA, "content": {"prompt": "a lighthouse", "steps": 20}}


def changed(**metadata: object) -> str:
    return json.dumps({**JOB, "metadata": {**METADATA, **metadata}})


def test_an_sns_envelope_is_opened_and_its_attributes_are_kept() -> None:
    body = json.dumps(
        {
            "Type": "Notification",
            "Message": json.dumps(JOB),
            "MessageAttributes": {"traceparent": {"Type": "String", "Value": "00-1-2-01"}},
        }
    )
    envelope = open_envelope(body, {"AWSTraceHeader": "Root=1"})
    assert parse_job(envelope.payload).id == "order-7f3a"
    assert envelope.attributes == {"traceparent": "00-1-2-01", "AWSTraceHeader": "Root=1"}


def test_a_raw_delivery_is_left_as_it_is() -> None:
    envelope = open_envelope(json.dumps(JOB), {"runtime": "x"})
    assert json.loads(envelope.payload) == JOB
    assert envelope.attributes == {"runtime": "x"}


@pytest.mark.parametrize(
    "marker",
    [
        "software.amazon.payloadoffloading.PayloadS3Pointer",
        "com.amazon.sqs.javamessaging.MessageS3Pointer",
    ],
)
def test_a_payload_pointer_of_either_client_version_is_found(marker: str) -> None:
    pointer = json.dumps([marker, {"s3BucketName": "b", "s3Key": "k"}])
    assert find_pointer(pointer) == PayloadPointer("b", "k")


def test_unknown_metadata_is_kept() -> None:
    job = parse_job(changed(tenant="blue"))
    assert job.metadata.model_dump()["tenant"] == "blue"


@pytest.mark.parametrize(
    ("prefix", "folder"),
    [
        ("output", "output/order-7f3a"),
        ("/output/", "output/order-7f3a"),
        ("a//b", "a/b/order-7f3a"),
        ("", "output/order-7f3a"),
        ("/", "output/order-7f3a"),
        ("my/inputs", "my/inputs/order-7f3a"),
    ],
)
def test_a_prefix_may_have_slashes_at_its_ends_or_be_empty(prefix: str, folder: str) -> None:
    assert ResultKeys.of(parse_job(changed(prefix=prefix))).folder == folder


def test_a_job_without_a_prefix_gets_the_default() -> None:
    metadata = {"id": "order-7f3a", "tasktype": "text-to-image"}
    job = parse_job(json.dumps({"metadata": metadata, "content": {}}))
    assert ResultKeys.of(job).folder == "output/order-7f3a"


@pytest.mark.parametrize("folder", RESERVED)
def test_a_prefix_that_begins_with_a_folder_of_the_system_is_refused(folder: str) -> None:
    for prefix in (folder, f"/{folder}/a"):
        with pytest.raises(Malformed, match=r"metadata\.prefix: .*must not begin with"):
            parse_job(changed(prefix=prefix))


@pytest.mark.parametrize("prefix", ["..", "a/../b", "./a", "a\\b", "a\nb", "x" * 600])
def test_a_prefix_that_could_leave_its_folder_is_refused(prefix: str) -> None:
    with pytest.raises(Malformed, match="prefix"):
        parse_job(changed(prefix=prefix))


def test_the_digest_depends_on_content_and_task_type_only() -> None:
    job = parse_job(json.dumps(JOB))
    reordered = {**JOB, "content": {"steps": 20, "prompt": "a lighthouse"}}
    assert parse_job(json.dumps(reordered)).digest == job.digest
    assert parse_job(changed(context="other", prefix="elsewhere")).digest == job.digest
    assert parse_job(changed(tasktype="image-to-image")).digest != job.digest
    other = {**JOB, "content": {"prompt": "a lighthouse", "steps": 21}}
    assert parse_job(json.dumps(other)).digest != job.digest


def test_the_keys_of_a_jobs_objects_are_those_of_the_wire_format() -> None:
    job = parse_job(json.dumps(JOB))
    keys = ResultKeys.of(job)
    stem = f"output/order-7f3a/order-7f3a-{job.digest[:16]}"
    assert keys.manifest == f"{stem}.out"
    assert keys.artifact(1, "image/png") == f"{stem}-1.png"
    assert keys.artifact(2, "image/jpeg", suffix="ab12") == f"{stem}-2-ab12.jpg"
