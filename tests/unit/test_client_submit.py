"""Publishing, where the topic and the bucket do not do all they are asked."""

from datetime import UTC, datetime

import pytest

from queue_agent.client import Client, make_job
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.job import Job, parse_job
from queue_agent.wire.layout import ResultKeys
from queue_agent.wire.notification import ErrorReport
from queue_agent.wire.result import Result

JOBS = [make_job({"prompt": "x"}, runtime="r", job_id=f"job-{n}") for n in "abc"]


def failure(job: Job, *, retryable: bool) -> bytes:
    error = ErrorReport(type="x", message="x", retryable=retryable, final=True)
    result = Result(
        runtime="r", id=job.id, digest=job.digest, status="failed", result=False, error=error
    )
    return result.model_dump_json().encode()


async def test_what_a_batch_leaves_out_is_published_again() -> None:
    cloud = MemoryCloud()
    cloud.faults.fail("topic.publish", Unavailable("throttled"), matching="job-b")
    client = Client(cloud, job_topic="jobs")
    assert [job.id for job in await client.submit_many(JOBS)] == ["job-a", "job-b", "job-c"]
    taken = [parse_job(publication.body).id for publication in cloud.topic("jobs").published]
    assert sorted(taken) == ["job-a", "job-b", "job-c"]


async def test_what_the_topic_does_not_take_is_named_by_id() -> None:
    cloud = MemoryCloud()
    cloud.faults.fail("topic.publish", Unavailable("throttled"), times=2, matching="job-b")
    client = Client(cloud, job_topic="jobs")
    with pytest.raises(Unavailable) as error:
        await client.submit_many(JOBS)
    assert error.value.details == {"failed": {"job-b": "throttled"}}
    assert len(cloud.topic("jobs").published) == 2


async def test_a_job_whose_publication_was_not_answered_is_published_again() -> None:
    cloud = MemoryCloud()
    cloud.faults.lose_answer("topic.publish")
    client = Client(cloud, job_topic="jobs")
    assert (await client.submit(JOBS[0])).id == "job-a"
    taken = [parse_job(publication.body) for publication in cloud.topic("jobs").published]
    assert taken == [JOBS[0]] * 2, "by its id one job"


async def test_what_the_topic_forbids_is_asked_for_once() -> None:
    cloud = MemoryCloud()
    cloud.faults.outage(Unavailable("no", type="cloud_unauthorized"))
    with pytest.raises(Unavailable):
        await Client(cloud, job_topic="jobs").submit(JOBS[0])
    assert [call.operation for call in cloud.calls].count("topic.publish") == 1


@pytest.mark.parametrize("retryable", [True, False])
async def test_only_a_passing_failure_is_forgotten_when_its_job_is_submitted_again(
    retryable: bool,
) -> None:
    cloud, job = MemoryCloud(), JOBS[0]
    bucket = cloud.bucket("results")
    key = ResultKeys.of(job).manifest
    bucket.put(key, failure(job, retryable=retryable))
    client = Client(cloud, job_topic="jobs", bucket="results")
    await client.submit(job)
    assert (key in bucket.objects) is not retryable


async def test_what_is_not_configured_is_missed_only_by_what_needs_it() -> None:
    client = Client(MemoryCloud(), job_topic="jobs")
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


async def test_a_deadline_is_published_with_the_job() -> None:
    cloud, wanted_by = MemoryCloud(), datetime(2030, 1, 1, 12, tzinfo=UTC)
    await Client(cloud, job_topic="jobs").submit("a cat", deadline=wanted_by)
    published = parse_job(cloud.topic("jobs").published[0].body)
    assert published.metadata.deadline == wanted_by
