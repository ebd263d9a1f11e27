"""Queues in memory are fair among tenants as SQS says of its own."""

from collections.abc import Sequence

from queue_agent.cloud import Message, Ordering
from queue_agent.cloud.memory import ManualClock, MemoryCloud, MemoryQueue

LEASE = 600.0


def of(tenant: str) -> Ordering:
    return Ordering(tenant=tenant)


async def received(queue: MemoryQueue, count: int = 1) -> Sequence[Message]:
    return await queue.receive(count, wait=0, visibility_timeout=LEASE)


async def sent(queue: MemoryQueue, tenant: str, *bodies: str) -> None:
    for body in bodies:
        await queue.send(body, {}, of(tenant))


async def test_whose_work_takes_the_time_waits_for_who_has_little() -> None:
    clock = ManualClock()
    queue = MemoryQueue(clock)
    await sent(queue, "noisy", "n1", "n2", "n3")
    await sent(queue, "quiet", "q1")
    (first,) = await received(queue)
    clock.advance(10)
    await queue.delete(first)
    rest = await received(queue, 10)
    assert [first.body, *(message.body for message in rest)] == ["n1", "q1", "n2", "n3"]


async def test_who_has_most_in_flight_waits_though_no_time_has_passed() -> None:
    queue = MemoryQueue(ManualClock())
    await sent(queue, "noisy", *map(str, range(31)))
    await sent(queue, "quiet", "q1")
    for _ in range(3):
        await received(queue, 10)
    assert [message.body for message in await received(queue, 10)] == ["q1", "30"]


async def test_of_noisy_tenants_the_one_with_fewer_in_flight_goes_first() -> None:
    clock = ManualClock()
    queue = MemoryQueue(clock)
    await sent(queue, "a", "a1", "a2", "a3")
    await sent(queue, "b", "b1", "b2")
    for count in (2, 1):
        await received(queue, count)
        clock.advance(10)
    assert [message.body for message in await received(queue, 2)] == ["b2", "a3"]


async def test_who_has_nothing_left_to_wait_is_as_quiet_as_the_others() -> None:
    clock = ManualClock()
    queue = MemoryQueue(clock)
    await sent(queue, "noisy", "n1", "n2")
    (first,) = await received(queue)
    clock.advance(10)
    await queue.delete(first)
    (last,) = await received(queue)
    await queue.delete(last)
    await sent(queue, "noisy", "n3")
    await sent(queue, "quiet", "q1")
    assert [message.body for message in await received(queue, 2)] == ["n3", "q1"]


async def test_messages_of_nobody_keep_their_order() -> None:
    clock = ManualClock()
    queue = MemoryQueue(clock)
    for body in "abc":
        await queue.send(body, {})
    (first,) = await received(queue)
    clock.advance(10)
    await queue.delete(first)
    rest = await received(queue, 10)
    assert [(message.body, message.tenant) for message in (first, *rest)] == [
        (body, None) for body in "abc"
    ]


async def test_several_messages_of_a_tenant_are_delivered_at_once() -> None:
    queue = MemoryQueue(ManualClock())
    await sent(queue, "one", "a", "b")
    assert [
        (message.body, message.tenant, message.group) for message in await received(queue, 2)
    ] == [
        ("a", "one", None),
        ("b", "one", None),
    ]


async def test_a_topic_that_keeps_an_order_tells_no_standard_queue_of_tenants() -> None:
    cloud = MemoryCloud(ManualClock())
    queue = cloud.queue("standard")
    cloud.topic("jobs.fifo").subscribe_queue(queue, raw_delivery=True)
    await cloud.topic("jobs.fifo").publish("x", {}, Ordering("group", tenant="one"))
    assert [(one.tenant, one.group) for one in await received(queue)] == [(None, None)]
