"""Publishing, where the topic and the bucket do not do all they are asked."""

import pytest

from client_stubs import PartialTopic, Shelf, StubCloud
from queue_agent.client import Client, make_job
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.job import Job
from queue_agent.wire.layout import ResultKeys
from queue_agent.wire.notification import ErrorReport
from queue_agent.wire.result import Result

JOBS = [make_job({"prompt": "x"}, runtime="r", job_id=f"job-{n}") for n in "abc"]


def failure(job: Job, *, retryable: bool) -> bytes:
    error = ErrorReport(type="x", message="x", retryable=retryable, final=True)
    result = Result(runtime="r", id=job.id, status="failed", result=False, error=error)
    return result.model_dump_json().encode()


async def test_what_a_batch_leaves_out_is_published_again() -> None:
    topic = PartialTopic({"job-b": 1})
    client = Client(StubCloud(topic, Shelf()), job_topic="jobs")
    assert [job.id for job in await client.submit_many(JOBS)] == ["job-a", "job-b", "job-c"]
    assert len(topic.taken) == 3


async def test_what_the_topic_does_not_take_is_named_by_id() -> None:
    topic = PartialTopic({"job-b": 2})
    client = Client(StubCloud(topic, Shelf()), job_topic="jobs")
    with pytest.raises(Unavailable) as error:
        await client.submit_many(JOBS)
    assert error.value.details == {"failed": {"job-b": "throttled"}}
    assert len(topic.taken) == 2


@pytest.mark.parametrize("retryable", [True, False])
async def test_only_a_passing_failure_is_forgotten_when_its_job_is_submitted_again(
    retryable: bool,
) -> None:
    shelf, job = Shelf(), JOBS[0]
    key = ResultKeys.of(job).manifest
    shelf.objects[key] = failure(job, retryable=retryable)
    client = Client(StubCloud(PartialTopic({}), shelf), job_topic="jobs", bucket="shelf")
    await client.submit(job)
    assert (key in shelf.objects) is not retryable


async def test_what_is_not_configured_is_missed_only_by_what_needs_it() -> None:
    client = Client(StubCloud(PartialTopic({}), Shelf()), job_topic="jobs")
    await client.submit(JOBS[0])
    with pytest.raises(ValueError, match="bucket"):
        await client.cancel("x")
    with pytest.raises(ValueError, match="bucket"):
        await client.submit("a cat", init_images=[b"bytes"])
    with pytest.raises(ValueError, match="notification topic"):
        async with client.notifications():
            pass
    with pytest.raises(ValueError, match="id"):
        client.job("../x")
