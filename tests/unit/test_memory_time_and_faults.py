"""The cloud in memory: what its tests can do with time and faults, beyond the contract."""

import asyncio
import json

import pytest

from queue_agent.cloud import Publication
from queue_agent.cloud.memory import (
    Call,
    FilterPolicy,
    ManualClock,
    MemoryCloud,
    MemoryQueue,
    StoredObject,
)
from queue_agent.cloud.memory.topic import lets_through
from queue_agent.wire.errors import LeaseLost, ObjectNotFound, Unavailable


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cloud(clock: ManualClock) -> MemoryCloud:
    return MemoryCloud(clock)


async def test_a_poll_ends_when_the_clock_says_so(cloud: MemoryCloud, clock: ManualClock) -> None:
    poll = asyncio.create_task(cloud.queue("q").receive(1, wait=20, visibility_timeout=30))
    await clock.waited_for()
    clock.advance(19.9)
    await asyncio.sleep(0)
    assert not poll.done()
    clock.advance(0.1)
    assert await poll == []


async def test_a_lease_that_runs_out_wakes_the_next_poll(
    cloud: MemoryCloud, clock: ManualClock
) -> None:
    queue = cloud.queue("q")
    await queue.send("x", {})
    (first,) = await queue.receive(1, wait=0, visibility_timeout=30)
    poll = asyncio.create_task(queue.receive(1, wait=1000, visibility_timeout=30))
    await clock.waited_for()
    clock.advance(30)
    (again,) = await poll
    assert (again.id, again.receive_count) == (first.id, 2)
    for call in (queue.extend(first, 30), queue.delete(first)):
        with pytest.raises(LeaseLost):
            await call
    await queue.delete(again)
    assert queue.bodies == []


async def test_a_message_given_back_for_later_comes_then(
    cloud: MemoryCloud, clock: ManualClock
) -> None:
    queue = cloud.queue("q")
    await queue.send("x", {})
    (message,) = await queue.receive(1, wait=0, visibility_timeout=30)
    await queue.extend(message, 100)
    clock.advance(99)
    assert await queue.receive(1, wait=0, visibility_timeout=30) == []
    clock.advance(1)
    assert len(await queue.receive(1, wait=0, visibility_timeout=30)) == 1


async def test_a_lease_that_has_run_out_cannot_be_extended(
    cloud: MemoryCloud, clock: ManualClock
) -> None:
    queue = cloud.queue("q")
    await queue.send("x", {})
    (message,) = await queue.receive(1, wait=0, visibility_timeout=30)
    clock.advance(30)
    with pytest.raises(LeaseLost):
        await queue.extend(message, 30)


async def test_messages_bear_the_clocks_time(cloud: MemoryCloud, clock: ManualClock) -> None:
    queue, sent = cloud.queue("q"), clock.now()
    await queue.send("x", {})
    clock.advance(5)
    (message,) = await queue.receive(1, wait=0, visibility_timeout=30)
    assert message.sent_at == sent


async def test_one_message_wakes_many_polls_and_goes_to_one(
    cloud: MemoryCloud, clock: ManualClock
) -> None:
    queue = cloud.queue("q")
    polls = [
        asyncio.create_task(queue.receive(1, wait=20, visibility_timeout=30)) for _ in range(3)
    ]
    await clock.waited_for(3)
    await queue.send("x", {})
    clock.advance(20)
    assert sorted([len(await poll) for poll in polls]) == [0, 0, 1]


async def test_a_cancelled_poll_takes_nothing(cloud: MemoryCloud, clock: ManualClock) -> None:
    queue = cloud.queue("q")
    poll = asyncio.create_task(queue.receive(1, wait=20, visibility_timeout=30))
    await clock.waited_for()
    poll.cancel()
    await asyncio.wait({poll})
    await queue.send("x", {})
    assert len(await queue.receive(1, wait=0, visibility_timeout=30)) == 1


async def test_moments_come_in_order_however_far_the_clock_goes(clock: ManualClock) -> None:
    begin, seen = clock.now(), []
    for seconds in (3.0, 1.0, 2.0):
        clock.call_at(begin + seconds, lambda: seen.append(clock.now() - begin))
    clock.call_at(begin + 1.5, lambda: seen.append(99)).cancel()
    clock.advance(10)
    assert seen == [1.0, 2.0, 3.0]
    assert clock.now() == begin + 10


async def test_sleeping_lasts_until_the_clock_has_gone_on(clock: ManualClock) -> None:
    sleeping = asyncio.create_task(clock.sleep(5))
    await clock.waited_for()
    clock.advance(5)
    await sleeping
    await clock.sleep(0)


async def test_with_the_systems_clock_a_poll_waits_for_a_message() -> None:
    queue = MemoryCloud().queue("q")
    asyncio.get_running_loop().call_later(0.01, queue.put, "x", {})
    (message,) = await queue.receive(1, wait=20, visibility_timeout=0.05)
    (again,) = await queue.receive(1, wait=20, visibility_timeout=30)
    assert again.id == message.id


async def test_a_call_ordered_to_fail_does_nothing(cloud: MemoryCloud) -> None:
    topic = cloud.topic("t")
    cloud.faults.fail("topic.publish", Unavailable("away"), times=2)
    for _ in range(2):
        with pytest.raises(Unavailable, match="away"):
            await topic.publish("x", {})
    assert topic.published == []
    await topic.publish("x", {})
    assert topic.published == [Publication("x", {})]


async def test_a_call_can_be_done_and_its_answer_lost(cloud: MemoryCloud) -> None:
    bucket = cloud.bucket("b")
    cloud.faults.lose_answer("bucket.write", Unavailable("cut off"))
    with pytest.raises(Unavailable, match="cut off"):
        await bucket.write("k", b"data", media_type="text/plain")
    assert bucket.objects == {"k": StoredObject(b"data", "text/plain")}


async def test_messages_of_a_lost_answer_are_delivered_to_nobody(
    cloud: MemoryCloud, clock: ManualClock
) -> None:
    queue = cloud.queue("q")
    await queue.send("x", {})
    cloud.faults.lose_answer("queue.receive", Unavailable("cut off"))
    with pytest.raises(Unavailable):
        await queue.receive(1, wait=0, visibility_timeout=30)
    assert (await queue.backlog()).in_flight == 1
    clock.advance(30)
    (message,) = await queue.receive(1, wait=0, visibility_timeout=30)
    assert message.receive_count == 2


async def test_a_fault_meets_only_the_calls_it_is_meant_for(cloud: MemoryCloud) -> None:
    bucket = cloud.bucket("b")
    cloud.faults.fail("bucket.write", Unavailable("away"), matching=".out")
    await bucket.write("a.png", b"", media_type="image/png")
    with pytest.raises(Unavailable):
        await bucket.write("a.out", b"", media_type="application/json")


async def test_faults_for_the_same_call_are_used_up_in_order(cloud: MemoryCloud) -> None:
    cloud.faults.fail("topic.check", Unavailable("first"))
    cloud.faults.fail("topic.check", Unavailable("second"))
    for words in ("first", "second"):
        with pytest.raises(Unavailable, match=words):
            await cloud.topic("t").check()
    cloud.faults.fail("topic.check", Unavailable("third"))
    cloud.faults.clear()
    await cloud.topic("t").check()


async def test_in_an_outage_every_call_fails_until_it_is_over(cloud: MemoryCloud) -> None:
    cloud.faults.outage(Unavailable("away"))
    for _ in range(2):
        with pytest.raises(Unavailable):
            await cloud.queue("q").send("x", {})
        with pytest.raises(Unavailable):
            await cloud.bucket("b").exists("k")
    cloud.faults.clear()
    await cloud.queue("q").send("x", {})
    assert cloud.queue("q").bodies == ["x"]


async def test_a_call_can_be_held_and_released(cloud: MemoryCloud) -> None:
    bucket = cloud.bucket("b")
    hold = cloud.faults.hold("bucket.write")
    writing = asyncio.create_task(bucket.write("k", b"", media_type="text/plain"))
    await hold.reached.wait()
    assert not await bucket.exists("k")
    hold.release()
    await writing
    assert await bucket.exists("k")


async def test_an_operation_that_no_port_has_is_refused(cloud: MemoryCloud) -> None:
    with pytest.raises(ValueError, match=r"queue\.devour"):
        cloud.faults.fail("queue.devour", Unavailable("x"))  # type: ignore[arg-type]


async def test_calls_are_remembered_in_order(cloud: MemoryCloud) -> None:
    await cloud.bucket("b").write("k", b"", media_type="text/plain")
    await cloud.topic("t").publish("body", {})
    assert cloud.calls == [Call("bucket.write", "k"), Call("topic.publish", "body")]


async def test_one_publication_of_many_can_fail(cloud: MemoryCloud) -> None:
    topic = cloud.topic("t")
    cloud.faults.fail("topic.publish", Unavailable("throttled"), matching="b")
    many = [Publication(body) for body in "abc"]
    assert await topic.publish_many(many) == {1: "throttled"}
    assert [publication.body for publication in topic.published] == ["a", "c"]


async def test_a_publication_counts_with_its_attributes(cloud: MemoryCloud) -> None:
    topic = cloud.topic("t")
    publication = Publication("x", {"name": "value"})
    room = topic.size_limit - publication.size
    await topic.publish("x" + "y" * room, publication.attributes)
    with pytest.raises(Unavailable):
        await topic.publish("xy" + "y" * room, publication.attributes)


async def test_a_deployed_runtime_gets_its_jobs_in_envelopes(cloud: MemoryCloud) -> None:
    deployment = cloud.deploy("mine")
    await cloud.topic(deployment.job_topic).publish("not for me", {"runtime": "other"})
    await cloud.topic(deployment.job_topic).publish("for me", {"runtime": "mine", "é": "ü"})
    (body,) = cloud.queue(deployment.queue_url).bodies
    envelope = json.loads(body)
    assert envelope["Type"] == "Notification"
    assert envelope["Message"] == "for me"
    assert envelope["MessageAttributes"]["é"] == {"Type": "String", "Value": "ü"}


async def test_a_deployed_runtime_can_get_its_jobs_raw(cloud: MemoryCloud) -> None:
    deployment = cloud.deploy("mine", raw_delivery=True)
    await cloud.topic(deployment.job_topic).publish("for me", {"runtime": "mine"})
    (message,) = await cloud.queue(deployment.queue_url).receive(10, wait=0, visibility_timeout=30)
    assert (message.body, message.attributes) == ("for me", {"runtime": "mine"})


async def test_a_deployment_without_dead_letters_delivers_for_ever(
    cloud: MemoryCloud, clock: ManualClock
) -> None:
    deployment = cloud.deploy("mine", max_receives=None)
    assert deployment.dead_letter_queue_url is None
    queue = cloud.queue(deployment.queue_url)
    await queue.send("x", {})
    for count in range(1, 10):
        (message,) = await queue.receive(1, wait=0, visibility_timeout=1)
        assert message.receive_count == count
        clock.advance(1)


async def test_presigned_links_work_for_their_time(cloud: MemoryCloud, clock: ManualClock) -> None:
    bucket = cloud.bucket("b")
    await bucket.write("a b/ü?", b"data", media_type="text/plain")
    url = await bucket.presign("a b/ü?", seconds=60)
    assert await cloud.fetch(url) == (b"data", "text/plain")
    clock.advance(60)
    with pytest.raises(ObjectNotFound):
        await cloud.fetch(url)


@pytest.mark.parametrize(
    ("policy", "attributes", "passes"),
    [
        ({}, {}, True),
        ({"a": ["1", "2"]}, {"a": "2"}, True),
        ({"a": ["1"]}, {"a": "2"}, False),
        ({"a": ["1"]}, {}, False),
        ({"a": ["1"], "b": ["1"]}, {"a": "1", "b": "2"}, False),
        ({"a": [{"prefix": "ord"}]}, {"a": "order"}, True),
        ({"a": [{"prefix": "ord"}]}, {"a": "disorder"}, False),
        ({"a": [{"prefix": ""}]}, {}, False),
        ({"a": [{"anything-but": "1"}]}, {"a": "2"}, True),
        ({"a": [{"anything-but": "1"}]}, {"a": "1"}, False),
        ({"a": [{"anything-but": ["1", "2"]}]}, {"a": "2"}, False),
        ({"a": [{"anything-but": "1"}]}, {}, False),
        ({"a": [{"exists": False}]}, {}, True),
        ({"a": [{"exists": False}]}, {"a": ""}, False),
        ({"a": [{"exists": True}, "x"]}, {"a": "y"}, True),
        ({"a": ["high", {"exists": False}]}, {}, True),
    ],
)
def test_filters_let_through_what_they_name(
    policy: FilterPolicy, attributes: dict[str, str], passes: bool
) -> None:
    assert lets_through(policy, attributes) == passes


def test_a_filter_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="suffix"):
        lets_through({"a": [{"suffix": "x"}]}, {"a": "x"})


def test_a_limit_of_deliveries_needs_dead_letters(clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="go together"):
        MemoryQueue(clock, max_receives=3)


async def test_an_object_of_another_digest_than_was_told_is_refused() -> None:
    bucket = MemoryCloud().bucket("results")
    with pytest.raises(Unavailable):
        await bucket.write("a", b"cut", media_type="image/png", sha256="0" * 64)
    assert not await bucket.exists("a")
