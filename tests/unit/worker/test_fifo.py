"""Topics and queues that keep an order (FIFO): groups, and what is taken for a repetition."""

from collections import Counter

import pytest

from queue_agent.client import Client, make_job
from queue_agent.cloud import Ordering
from queue_agent.cloud.memory import ManualClock, MemoryCloud
from queue_agent.wire.errors import Unanswered, Unavailable
from queue_agent.wire.job import parse_job
from worker_bench import NAME, Bench, drawing, failing

pytestmark = pytest.mark.looptime

LOST = Unanswered("The answer was lost.")
JOBS = [make_job({"prompt": "x"}, runtime="r", job_id=f"job-{n}") for n in "abc"]


@pytest.fixture
async def line() -> Bench:
    """A deployment whose queues and topics keep an order."""
    return Bench(fifo=True)


async def test_jobs_are_answered_and_each_is_a_group_of_its_own(line: Bench) -> None:
    async with line.working():
        for job_id in ("a", "b"):
            await line.publish(job_id)
        for job_id in ("a", "b"):
            assert (await line.settled(job_id)).status == "completed"
    assert [(one.ordering.group) for one in line.topic.published] == ["a", "b"]


async def test_a_notification_whose_answer_was_lost_is_heard_once(line: Bench) -> None:
    line.cloud.faults.lose_answer("topic.publish", LOST, times=3, matching='"completed"')
    async with line.working():
        await line.publish("a")
        await line.settled("a")
    assert line.operations()["topic.publish"] > 3
    assert Counter(one.status for one in line.heard) == {"completed": 1}


async def test_progress_and_repeated_answers_are_not_taken_for_repetitions(line: Bench) -> None:
    line.policy = {"progress_interval": 1.0}
    line.runtime.script("a", drawing(progress=(0.5, 0.5, 0.5)))
    async with line.working():
        for nth in (1, 2, 3):
            await line.publish("a")
            await line.answer("a", nth=nth)
    assert [one.redelivered for one in line.told("a")] == [False, True, True]
    running = [one for one in line.heard if one.status == "running"]
    assert [one.progress for one in running] == [0.0, 0.5, 0.5, 0.5]
    assert line.heard[: len(running)] == running


async def test_a_body_that_names_no_job_is_answered_too(line: Bench) -> None:
    async with line.working():
        await line.queue.send('{"metadata": {"id": "größe 1"}}', {})
        assert (await line.settled()).status == "failed"


async def test_a_job_that_fails_holds_up_its_own_group_alone(line: Bench) -> None:
    line.policy = {"retry_delay": 20.0, "prefetch": 0}
    line.runtime.script("first", *[failing()] * 3, drawing())  # released, then done
    jobs = [("first", "one"), ("other", "two"), ("second", "one")]
    for job_id, group in jobs:
        await line.queue.send(line.body(job_id), {}, Ordering(group))
    async with line.working():
        await line.answer("second")
    assert line.runtime.runs == ["first", "first", "first", "other", "first", "second"]


async def test_a_submission_whose_answer_was_lost_arrives_once() -> None:
    cloud = MemoryCloud()
    cloud.faults.lose_answer("topic.publish", LOST, matching="job-b")
    client = Client(cloud, job_topic="jobs.fifo")
    await client.submit_many(JOBS)
    taken = [parse_job(publication.body).id for publication in cloud.topic("jobs.fifo").published]
    assert taken == ["job-a", "job-b", "job-c"]


async def test_a_job_that_is_submitted_twice_on_purpose_arrives_twice() -> None:
    cloud = MemoryCloud()
    client = Client(cloud, job_topic="jobs.fifo")
    for _ in range(2):
        await client.submit(JOBS[0])
    published = cloud.topic("jobs.fifo").published
    assert [one.ordering.group for one in published] == ["job-a", "job-a"]


async def test_a_large_job_keeps_its_group_on_the_way_through_the_bucket() -> None:
    cloud = MemoryCloud()
    large = make_job({"prompt": "x" * 300_000}, runtime="r", job_id="large")
    await Client(cloud, job_topic="jobs.fifo", bucket="results").submit(large)
    (pointer,) = cloud.topic("jobs.fifo").published
    assert len(pointer.body) < 1000
    assert pointer.ordering.group == "large"


async def test_dead_letters_go_back_once_and_in_their_groups() -> None:
    clock = ManualClock()
    cloud = MemoryCloud(clock)
    deployment = cloud.deploy(NAME, max_receives=1, fifo=True)
    queue = cloud.queue(deployment.queue_url)
    dead_letters = str(deployment.dead_letter_queue_url)
    cloud.queue(dead_letters).put("x", {}, Ordering("tenant-7"))
    cloud.faults.lose_answer("queue.send", LOST)
    client = Client(cloud)
    with pytest.raises(Unavailable):
        await _redriven(client, dead_letters, deployment.queue_url)
    clock.advance(60)
    assert await _redriven(client, dead_letters, deployment.queue_url) == ["x"]
    (message,) = await queue.receive(10, wait=0, visibility_timeout=30)
    assert message.group == "tenant-7"


async def _redriven(client: Client, dead_letters: str, queue: str) -> list[str]:
    sent = client.redrive(dead_letters=dead_letters, queue=queue, limit=1)
    return [payload async for payload in sent]
