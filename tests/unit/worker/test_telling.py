"""What subscribers hear on the way, and how a notification is made to fit."""

import json
import math

import pytest

from queue_agent.wire.errors import LeaseLost, Unavailable
from queue_agent.wire.notification import Notification
from worker_bench import Bench, drawing

pytestmark = pytest.mark.looptime


def running(bench: Bench) -> list[Notification]:
    return [one for one in bench.heard if one.status == "running"]


async def test_progress_is_told_at_intervals_from_0_and_never_after_the_end() -> None:
    bench = Bench(policy={"progress_interval": 1.0})
    bench.runtime.script("order-1", drawing(10.0, progress=[n / 40 for n in range(1, 40)]))
    await bench.publish("order-1", context="mine")
    async with bench.working():
        await bench.settled("order-1")
        await bench.pass_time(10)
    told = running(bench)
    assert [one.progress for one in told] == sorted(one.progress or 0 for one in told)
    assert told[0].progress == 0
    assert 9 <= len(told) <= 12
    assert bench.heard[-1].status == "completed"
    assert {one.context for one in told} == {"mine"}


async def test_progress_is_kept_to_oneself_unless_asked_for(bench: Bench) -> None:
    bench.runtime.script("order-1", drawing(progress=[0.5]))
    await bench.publish("order-1")
    async with bench.working():
        await bench.settled("order-1")
    assert running(bench) == []


async def test_progress_that_cannot_be_told_holds_nothing_up() -> None:
    bench = Bench(policy={"progress_interval": 1.0})
    hold = bench.cloud.faults.hold("topic.publish", matching='"running"')
    bench.runtime.script("order-1", drawing(10.0, progress=[0.5]))
    await bench.publish("order-1")
    async with bench.working():
        assert (await bench.settled("order-1")).timings.run == pytest.approx(10.0)
    hold.release()


async def test_a_notification_too_large_for_the_topic_is_made_to_fit(bench: Bench) -> None:
    context = "x" * (bench.topic.size_limit + 1)
    await bench.queue.send(bench.body("order-1", context=context), {})
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.context, told.status) == (None, "completed")
    assert any("Too large" in warning for warning in told.warnings)
    assert bench.manifests()[0].context == context
    (publication,) = bench.topic.published
    assert publication.size <= bench.topic.size_limit


async def test_one_that_fits_is_told_whole(bench: Bench) -> None:
    context = "x" * (bench.topic.size_limit - 2_000)
    await bench.queue.send(bench.body("order-1", context=context), {})
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.context, told.warnings) == (context, [])


async def test_links_are_added_where_they_are_wanted() -> None:
    bench = Bench(policy={"presign": 3600.0})
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    (image,) = told.images
    assert image.presigned_url is not None
    linked = await bench.cloud.fetch(image.presigned_url)
    assert linked == bench.results.objects[image.url.removeprefix(bench.results.url(""))]
    assert "presigned_url" not in json.dumps(bench.manifests()[0].metadata)
    assert bench.manifests()[0].images[0].presigned_url is None


@pytest.mark.parametrize("beyond", range(-160, 200, 20))
async def test_no_notification_is_larger_than_the_topic_takes(bench: Bench, beyond: int) -> None:
    await bench.publish("order-0")
    async with bench.working():
        await bench.settled("order-0")
    context = "x" * (bench.topic.size_limit - bench.topic.published[0].size + beyond)
    await bench.queue.send(bench.body("order-1", context=context), {})
    async with bench.working():
        assert (await bench.settled("order-1")).attempt == 1


async def ended(bench: Bench, *job_ids: str) -> None:
    for job_id in job_ids:
        await bench.publish(job_id)
    async with bench.working():
        for job_id in job_ids:
            await bench.answer(job_id)
        await bench.emptied()


async def test_what_may_have_been_heard_is_told_again_marked(bench: Bench) -> None:
    bench.runtime.script("order-1", drawing(1.0))
    bench.cloud.faults.lose_answer("topic.publish", matching="completed")
    await ended(bench, "order-1")
    first, second = bench.told("order-1")
    assert (first.redelivered, second.redelivered) == (False, True)
    assert second == first.model_copy(update={"redelivered": True})
    assert not bench.manifests()[0].redelivered


async def test_what_was_not_taken_is_told_again_as_it_was(bench: Bench) -> None:
    refused = Unavailable("throttled", type="cloud_unavailable")
    bench.cloud.faults.fail("topic.publish", refused, times=2, matching="completed")
    await ended(bench, "order-1")
    (only,) = bench.told("order-1")
    assert not only.redelivered


async def test_a_marked_answer_may_come_before_the_one_that_is_not(bench: Bench) -> None:
    """The other message's finds the result, while the first one's is tried again."""
    bench.cloud.faults.fail("topic.publish", Unavailable("throttled"), matching="completed")
    for _ in range(2):
        await bench.publish("order-1")
    async with bench.working():
        await bench.answer("order-1", nth=2)
        await bench.emptied()
    assert [one.redelivered for one in bench.told("order-1")] == [True, False]


async def test_a_mark_stays_when_a_clear_refusal_follows(bench: Bench) -> None:
    bench.cloud.faults.lose_answer("topic.publish", matching="completed")
    bench.cloud.faults.fail("topic.publish", Unavailable("throttled"), matching="completed")
    await ended(bench, "order-1")
    assert [one.redelivered for one in bench.told("order-1")] == [False, True]


async def test_ten_seconds_of_lost_answers_make_few_copies(bench: Bench) -> None:
    jobs = [f"order-{n}" for n in range(4)]
    for job_id in jobs:
        bench.runtime.script(job_id, drawing(0.1))
        await bench.publish(job_id)
    bench.cloud.faults.lose_answer("topic.publish", times=math.inf, matching="completed")
    async with bench.working():
        await bench.pass_time(10)
        bench.cloud.faults.clear()
        await bench.emptied()
    for job_id in jobs:
        told = bench.told(job_id)
        assert len(told) <= 4
        assert [one.redelivered for one in told] == [False] + [True] * (len(told) - 1)
    assert sorted(bench.runtime.runs) == jobs


async def test_repetitions_end_with_the_patience_of_the_policy() -> None:
    bench = Bench(policy={"store_patience": 100.0}, max_receives=20)
    bench.cloud.faults.lose_answer("topic.publish", times=math.inf, matching="completed")
    await bench.publish("order-1")
    async with bench.working():
        await bench.pass_time(10 + 100 + 1)
        calls = bench.operations()["topic.publish"]
        assert bench.operations()["queue.extend"] > 0
        bench.cloud.faults.clear()
        await bench.emptied()
    assert 5 <= calls <= 8
    assert [one.redelivered for one in bench.told()][1:] == [True] * (len(bench.told()) - 1)


async def test_an_answer_to_what_cannot_be_understood_is_marked_where_it_may_be_the_second(
    bench: Bench,
) -> None:
    bench.cloud.faults.fail("queue.delete", LeaseLost("gone"))
    await bench.queue.send("no JSON", {})
    async with bench.working():
        await bench.answer(nth=2)
        await bench.emptied()
    assert [one.redelivered for one in bench.told()] == [False, True]
