"""Where agents bury dead letters themselves, as on NATS, each of them was answered before."""

import math

import pytest

from queue_agent.wire.errors import LeaseLost, Unavailable
from queue_agent.wire.notification import Notification
from worker_bench import Bench, drawing, failing

pytestmark = pytest.mark.looptime

OUTAGE = Unavailable("slow down", type="cloud_unavailable")
TAKEN_AWAY = LeaseLost("taken away")


@pytest.fixture
def bench() -> Bench:
    return Bench(max_receives=2, moves_dead_letters=False)


async def cut_off(bench: Bench, times: int) -> None:
    """So many deliveries of each message, each of which ends with its agent."""
    for _ in range(times):
        waiting = len(bench.queue.bodies)
        for message in await bench.queue.receive(waiting, wait=0, visibility_timeout=30):
            await bench.queue.extend(message, 0)


def kind(notification: Notification) -> tuple[str, str]:
    assert notification.error is not None
    return notification.status, notification.error.type


async def test_a_job_whose_every_attempt_was_cut_off_is_answered_and_then_a_dead_letter(
    bench: Bench,
) -> None:
    await bench.publish("order-1", context="mine")
    (body,) = bench.queue.bodies
    await cut_off(bench, 2)
    async with bench.working():
        told = await bench.settled("order-1")
    assert kind(told) == ("failed", "attempts_exhausted")
    assert (told.context, told.redelivered, told.output_url) == (
        "mine",
        False,
        bench.manifests()[0].output_url,
    )
    assert (bench.dead_letters, bench.runtime.runs, len(bench.told())) == ([body], [], 1)


async def test_what_fails_at_its_last_delivery_is_answered_once_and_buried_at_once(
    bench: Bench,
) -> None:
    bench.runtime.script("order-1", failing())
    await bench.publish("order-1")
    async with bench.working():
        await bench.settled("order-1")
    assert [kind(told) for told in bench.told()] == [("failed", "runtime_unavailable")]
    assert (len(bench.dead_letters), bench.told()[0].attempt) == (1, 2)


@pytest.mark.parametrize("cut", [1, 2], ids=["last", "beyond"])
@pytest.mark.parametrize("writes", [True, False], ids=["manifest", "none"])
async def test_who_is_ended_between_answering_and_burying_leaves_an_answer_that_is_marked(
    bench: Bench, cut: int, writes: bool
) -> None:
    bench.policy["store_patience"] = 5.0
    bench.runtime.script("order-1", failing())
    if not writes:
        bench.cloud.faults.fail("bucket.write", OUTAGE, times=math.inf)
    bench.cloud.faults.fail("queue.bury", TAKEN_AWAY, times=2)
    await bench.publish("order-1")
    await cut_off(bench, cut)
    async with bench.working():
        await bench.answer("order-1", nth=3)
        await bench.emptied()
    assert [told.redelivered for told in bench.told()[1:]] == [True, True]
    assert {told.status for told in bench.told()} == {"failed"}
    assert len(bench.dead_letters) == 1


async def test_two_messages_of_one_job_are_answered_with_one_answer_unmarked(
    bench: Bench,
) -> None:
    await bench.publish("order-1")
    await bench.pass_time(1)
    await bench.publish("order-1")
    await cut_off(bench, 2)
    async with bench.working(bench.agent(), bench.agent()):
        await bench.answer("order-1", nth=2)
        await bench.emptied()
    assert [told.redelivered for told in bench.told()] == [False, True]
    assert len(bench.dead_letters) == 2


async def test_what_was_made_before_its_agent_was_ended_is_told_and_no_dead_letter(
    bench: Bench,
) -> None:
    bench.cloud.faults.fail("queue.delete", TAKEN_AWAY)
    await bench.publish("order-1")
    await cut_off(bench, 1)
    async with bench.working():
        again = await bench.answer("order-1", nth=2)
        await bench.emptied()
    assert (again.status, again.redelivered, again.attempt) == ("completed", True, 3)
    assert bench.dead_letters == []


async def test_an_end_that_the_topic_refused_for_long_is_told_by_a_later_delivery(
    bench: Bench,
) -> None:
    bench.policy["store_patience"] = 5.0
    bench.runtime.script("order-1", failing())
    await bench.publish("order-1")
    bench.cloud.faults.fail("topic.publish", OUTAGE, times=math.inf)
    async with bench.working():
        await bench.pass_time(120)
        assert (bench.told(), bench.dead_letters) == ([], [])
        bench.cloud.faults.clear()
        told = await bench.settled("order-1")
    assert kind(told) == ("failed", "runtime_unavailable")
    assert len(bench.dead_letters) == 1


async def test_a_dead_letter_that_cannot_be_moved_is_tried_again_and_told_once(
    bench: Bench,
) -> None:
    bench.cloud.faults.fail("queue.bury", OUTAGE, times=5)
    await bench.publish("order-1")
    await cut_off(bench, 2)
    async with bench.working():
        await bench.settled("order-1")
    assert (len(bench.told()), len(bench.dead_letters)) == (1, 1)


async def test_an_exhausted_message_that_cannot_be_read_is_kept_answered_and_buried(
    bench: Bench,
) -> None:
    await bench.queue.send("no job", {})
    await cut_off(bench, 2)
    async with bench.working():
        told = await bench.answer()
        await bench.emptied()
    assert kind(told) == ("failed", "invalid_message")
    assert told.redelivered  # an earlier delivery may have told it
    assert (len(bench.keys("quarantine/")), bench.dead_letters) == (1, [])


async def test_a_dead_letter_that_is_sent_back_is_worked_on_anew(bench: Bench) -> None:
    bench.runtime.script("order-1", drawing())
    await bench.publish("order-1")
    await cut_off(bench, 2)
    async with bench.working():
        await bench.settled("order-1")
        (dead,) = bench.dead_letters
        await bench.queue.send(dead, {})
        again = await bench.answer("order-1", nth=2)
        await bench.emptied()
    assert (again.status, again.redelivered) == ("completed", False)
