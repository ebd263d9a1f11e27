"""Told to stop with a message that nobody would get again: run in the grace, else answered."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from queue_agent.cloud.memory import HeldCall, Operation
from queue_agent.runtime import Output, Prepared, ProgressCallback
from queue_agent.wire.errors import Rejected, Unanswered, Unavailable
from queue_agent.wire.notification import Notification
from worker_bench import RUN, Behaviour, Bench, JsonObject, ScriptedRuntime, drawing, failing

pytestmark = pytest.mark.looptime

REFUSED = Unavailable("the cloud refuses", type="cloud_unauthorized")
GRACE = 5.0
BOUND = 8.5
"""Seconds after the grace within which the agent has ended, its last poll included."""


def at_the_last_delivery(*, dead_letters: bool = True, backlog: int = 0) -> Bench:
    """Each message is delivered once at most; the job `long` runs for an hour."""
    policy: JsonObject = {"grace": GRACE, "max_receives": 1}
    runtime = ScriptedRuntime(backlog=backlog)
    bench = Bench(runtime=runtime, max_receives=1 if dead_letters else None, policy=policy)
    bench.runtime.script("long", drawing(3600.0))
    return bench


@asynccontextmanager
async def told_to_stop_after(bench: Bench) -> AsyncIterator[None]:
    """An agent that is told to stop at the block's end, and ends soon after its grace."""
    stop = asyncio.Event()
    task = asyncio.create_task(bench.agent().run(stop))
    yield
    told = asyncio.get_running_loop().time()
    stop.set()
    await task
    assert asyncio.get_running_loop().time() - told <= GRACE + BOUND


def only(bench: Bench) -> Notification:
    (told,) = bench.told()
    return told


async def put_aside(bench: Bench) -> Sequence[str]:
    """The dead letters, once somebody has asked the queue for more."""
    assert await bench.queue.receive(10, wait=0, visibility_timeout=1) == []
    return bench.dead_letters


def kind(notification: Notification) -> tuple[str, str]:
    assert notification.error is not None
    return notification.status, notification.error.type


async def reaches(bench: Bench, operation: Operation, matching: str) -> HeldCall:
    """An agent whose call does not come to an end, told to stop meanwhile."""
    held = bench.cloud.faults.hold(operation, matching=matching)
    async with told_to_stop_after(bench):
        await held.reached.wait()
    return held


async def test_while_its_payload_is_fetched() -> None:
    bench = at_the_last_delivery()
    pointer = {"s3BucketName": bench.results.name, "s3Key": "payloads/one"}
    body = json.dumps(["software.amazon.payloadoffloading.PayloadS3Pointer", pointer])
    await bench.queue.send(body, {})
    await reaches(bench, "bucket.read", "payloads/one")
    told = only(bench)
    assert kind(told) == ("failed", "agent_stopped")
    (key,) = bench.keys("quarantine/")
    assert told.id == json.loads(bench.results.objects[key].data)["message_id"]
    assert told.output_url == bench.results.url(key)
    assert await put_aside(bench) == [body]


async def test_while_earlier_results_are_looked_for() -> None:
    bench = at_the_last_delivery()
    await bench.publish("order-1", context="mine")
    held = await reaches(bench, "bucket.read", ".out")
    held.release()
    told = only(bench)
    assert kind(told) == ("failed", "agent_stopped")
    assert (told.id, told.context, told.attempt) == ("order-1", "mine", 1)
    assert (len(await put_aside(bench)), bench.runtime.runs) == (1, [])


async def test_while_its_inputs_are_fetched() -> None:
    bench = at_the_last_delivery()
    image = f"s3://{bench.results.name}/inputs/a.png"
    content = {"prompt": "x", "init_images": [image]}
    await bench.publish("order-1", content, tasktype="image-to-image")
    await reaches(bench, "bucket.read", "inputs/a.png")
    assert kind(only(bench)) == ("failed", "agent_stopped")
    assert (len(await put_aside(bench)), bench.runtime.runs) == (1, [])


@pytest.mark.parametrize("backlog", [0, 1], ids=["waiting", "submitted"])
async def test_while_another_job_has_the_runtime_for_too_long(backlog: int) -> None:
    bench = at_the_last_delivery(backlog=backlog)
    await bench.publish("long")
    await bench.publish("order-1")
    async with told_to_stop_after(bench):
        await bench.runtime.began.wait()
        await bench.pass_time(1)
    assert {one.id: kind(one) for one in bench.told()} == dict.fromkeys(
        ("long", "order-1"), ("failed", "agent_stopped")
    )
    assert len(await put_aside(bench)) == 2


@pytest.mark.parametrize("backlog", [0, 1], ids=["waiting", "submitted"])
@pytest.mark.parametrize("dead_letters", [True, False])
async def test_what_waits_is_run_within_the_grace(backlog: int, dead_letters: bool) -> None:
    bench = at_the_last_delivery(backlog=backlog, dead_letters=dead_letters)
    bench.policy["grace"] = 2 * RUN
    await bench.publish("first")
    await bench.publish("second")
    stop = asyncio.Event()
    task = asyncio.create_task(bench.agent().run(stop))
    await bench.runtime.began.wait()
    await bench.pass_time(1)
    stop.set()
    await task
    assert bench.runtime.runs == ["first", "second"]
    assert [one.status for one in bench.told()] == ["completed", "completed"]
    assert bench.queue.bodies == []


async def test_what_waits_for_a_runtime_that_is_away_is_run_if_it_comes_back() -> None:
    bench = at_the_last_delivery()
    bench.policy["grace"] = 3 * RUN
    bench.runtime.script("order-1", bench.runtime.killing(after=1.0, back_after=5.0), drawing())
    await bench.publish("order-1")
    stop = asyncio.Event()
    task = asyncio.create_task(bench.agent().run(stop))
    await bench.runtime.began.wait()
    await bench.pass_time(2)
    stop.set()
    await task
    assert only(bench).status == "completed"


async def test_what_others_may_have_is_given_back_at_once(bench: Bench) -> None:
    """The other side: at any delivery but the last nothing changes, and nothing is told."""
    bench.runtime.script("long", drawing(3600.0))
    bench.policy["grace"] = GRACE
    await bench.publish("long")
    await bench.publish("order-1")
    async with told_to_stop_after(bench):
        await bench.runtime.began.wait()
        await bench.pass_time(1)
    assert bench.told() == []
    assert (len(bench.queue.bodies), bench.dead_letters) == (2, [])


async def test_what_runs_longer_than_the_grace_is_interrupted_first() -> None:
    bench = at_the_last_delivery()
    await bench.publish("long")
    async with told_to_stop_after(bench):
        await bench.runtime.began.wait()
    told = only(bench)
    assert kind(told) == ("failed", "agent_stopped")
    assert told.error is not None
    assert (told.error.retryable, told.error.final) == (True, True)
    assert told.output_url == bench.manifests()[0].output_url
    assert bench.runtime.interrupted == ["long"]
    assert len(await put_aside(bench)) == 1


async def test_a_runtime_that_takes_a_while_to_let_go_delays_the_answer_only() -> None:
    bench = at_the_last_delivery()

    async def hold_on(prepared: Prepared, report: ProgressCallback) -> Output:
        try:
            return await drawing(3600.0)(prepared, report)
        finally:
            await asyncio.sleep(5)

    bench.runtime.script("order-1", hold_on)
    bench.cloud.faults.fail("bucket.write", REFUSED, times=math.inf, matching=".out")
    await bench.publish("order-1")
    async with told_to_stop_after(bench):
        await bench.runtime.began.wait()
    assert kind(only(bench)) == ("failed", "agent_stopped")


async def test_published_anew_the_job_gets_another_attempt() -> None:
    bench = at_the_last_delivery()
    bench.runtime.script("long", drawing(3600.0), drawing())
    await bench.publish("long")
    async with told_to_stop_after(bench):
        await bench.runtime.began.wait()
    await bench.publish("long")
    async with bench.working():
        assert (await bench.answer("long", nth=2)).status == "completed"


@pytest.mark.parametrize("matching", [".png", ".out"])
async def test_while_the_bucket_refuses_what_was_made(matching: str) -> None:
    bench = at_the_last_delivery()
    bench.cloud.faults.fail("bucket.write", REFUSED, times=math.inf, matching=matching)
    await bench.publish("order-1", context="mine", callback_url="https://example.com/")
    async with told_to_stop_after(bench):
        await bench.pass_time(RUN + 30)
    told = only(bench)
    assert kind(told) == ("failed", "agent_stopped")
    assert (told.id, told.context) == ("order-1", "mine")
    assert (told.output_url is None) == (matching == ".out")
    assert any("callback_url" in warning for warning in told.warnings)
    assert len(await put_aside(bench)) == 1


async def test_what_is_being_stored_at_the_graces_end_has_a_moment_to_be_stored() -> None:
    bench = at_the_last_delivery()
    held = bench.cloud.faults.hold("bucket.write", matching=".png")
    await bench.publish("order-1")
    async with told_to_stop_after(bench):
        await held.reached.wait()
        asyncio.get_running_loop().call_later(GRACE + 1, held.release)
    assert only(bench).status == "completed"
    assert await put_aside(bench) == []


async def test_a_result_whose_commit_was_cut_is_told_as_completed() -> None:
    bench = at_the_last_delivery()
    bench.cloud.faults.lose_answer("bucket.write", Unanswered("?"), matching=".out")
    read = bench.cloud.faults.hold("bucket.read", matching=".out")
    read.release()  # the look before the job
    cut = bench.cloud.faults.hold("bucket.read", matching=".out")
    await bench.publish("order-1")
    async with told_to_stop_after(bench):
        await cut.reached.wait()
    assert only(bench).status == "completed"
    assert only(bench).output_url == bench.manifests()[0].output_url
    assert await put_aside(bench) == []


@pytest.mark.parametrize(
    ("script", "error_type"),
    [
        (failing(), "runtime_unavailable"),
        (failing(Rejected("no such sampler")), "runtime_rejected"),
    ],
    ids=["given up", "rejected"],
)
async def test_a_failure_that_the_bucket_refuses_is_told_as_what_it_is(
    script: Behaviour, error_type: str
) -> None:
    bench = at_the_last_delivery()
    bench.cloud.faults.fail("bucket.write", REFUSED, times=math.inf, matching=".out")
    bench.runtime.script("order-1", script)
    await bench.publish("order-1")
    async with told_to_stop_after(bench):
        await bench.runtime.began.wait()
        await bench.pass_time(30)
    assert kind(only(bench)) == ("failed", error_type)
    assert len(await put_aside(bench)) == 1


async def test_a_rejection_whose_storing_was_cut_is_stored_and_acknowledged() -> None:
    bench = at_the_last_delivery()
    bench.runtime.script("order-1", failing(Rejected("too wide")))
    await bench.publish("order-1")
    await reaches(bench, "bucket.write", ".out")
    assert kind(only(bench)) == ("failed", "runtime_rejected")
    assert (bench.queue.bodies, await put_aside(bench)) == ([], [])


async def test_a_cancel_that_the_bucket_does_not_note_is_told_as_cancelled() -> None:
    bench = at_the_last_delivery()
    bench.cloud.faults.fail("bucket.write", REFUSED, times=math.inf, matching=".out")
    await bench.publish("long")
    async with told_to_stop_after(bench):
        await bench.runtime.began.wait()
        bench.results.put("cancelled/long", b"")
        await bench.pass_time(30)
    assert kind(only(bench)) == ("cancelled", "cancelled")


async def test_a_body_that_the_bucket_refuses_is_answered_and_left_to_the_dead_letters() -> None:
    bench = at_the_last_delivery()
    bench.cloud.faults.fail("bucket.write", REFUSED, times=math.inf, matching="quarantine/")
    body = json.dumps({"metadata": {"id": "order-1", "tasktype": 7}, "content": {}})
    await bench.queue.send(body, {})
    async with told_to_stop_after(bench):
        await bench.pass_time(30)
    assert (only(bench).id, *kind(only(bench))) == ("order-1", "failed", "invalid_message")
    assert await put_aside(bench) == [body]


async def test_a_body_refused_for_longer_than_the_patience_is_answered_likewise() -> None:
    bench = at_the_last_delivery()
    bench.policy["store_patience"] = 20.0
    bench.cloud.faults.fail("bucket.write", REFUSED, times=math.inf, matching="quarantine/")
    body = json.dumps({"metadata": {"id": "order-1", "tasktype": 7}, "content": {}})
    await bench.queue.send(body, {})
    async with bench.working():
        assert kind(await bench.settled("order-1")) == ("failed", "invalid_message")
    assert await put_aside(bench) == [body]


async def test_a_notification_under_way_is_not_told_twice() -> None:
    bench = at_the_last_delivery()
    held = bench.cloud.faults.hold("topic.publish", matching="completed")
    await bench.publish("order-1")
    async with told_to_stop_after(bench):
        await held.reached.wait()
        asyncio.get_running_loop().call_later(GRACE + 3, held.release)
    assert only(bench).status == "completed"
    assert not only(bench).redelivered
    assert bench.operations()["topic.publish"] == 2, "the job's own, and one for its end"
    assert (bench.queue.bodies, await put_aside(bench)) == ([], [])


@pytest.mark.parametrize("error", [REFUSED, Unanswered("no answer")], ids=["refused", "unanswered"])
async def test_a_good_result_that_the_topic_refuses_is_tried_once_more(error: Unavailable) -> None:
    bench = at_the_last_delivery()
    bench.cloud.faults.fail("topic.publish", error, times=math.inf, matching="completed")
    await bench.publish("order-1")
    async with told_to_stop_after(bench):
        await bench.pass_time(RUN + 40)
        asyncio.get_running_loop().call_later(GRACE - 0.01, bench.cloud.faults.clear)
    assert only(bench).status == "completed"
    assert only(bench).redelivered == isinstance(error, Unanswered)
    assert (bench.queue.bodies, await put_aside(bench)) == ([], [])


async def test_a_topic_that_never_answers_is_waited_for_no_longer() -> None:
    bench = at_the_last_delivery()
    bench.cloud.faults.fail("topic.publish", REFUSED, times=math.inf, matching="completed")
    await bench.publish("order-1")
    async with told_to_stop_after(bench):
        await bench.pass_time(RUN + 40)
        before = bench.operations()["topic.publish"]
    assert bench.operations()["topic.publish"] - before <= GRACE / 0.1 + BOUND
    assert len(await put_aside(bench)) == 1


async def test_a_job_that_another_message_is_worked_on_for_is_left_to_that() -> None:
    """No failure is stored or told of a job that another agent has in hand."""
    bench = at_the_last_delivery()
    bench.policy["prefetch"] = 0
    bench.runtime.script("long", drawing(60.0))
    await bench.publish("long")
    other = ScriptedRuntime()
    async with bench.working(bench.agent()):
        await bench.runtime.began.wait()
        await bench.publish("long")
        stop = asyncio.Event()
        task = asyncio.create_task(bench.agent(other).run(stop))
        await bench.pass_time(10)
        told_to_stop = asyncio.get_running_loop().time()
        stop.set()
        await task
        assert asyncio.get_running_loop().time() - told_to_stop < GRACE
        assert bench.told() == []
        assert (await bench.answer("long")).status == "completed"
    assert (other.runs, len(bench.told())) == ([], 1)


async def test_two_messages_of_a_job_are_answered_once() -> None:
    bench = at_the_last_delivery()
    await bench.publish("long")
    await bench.publish("long")
    async with told_to_stop_after(bench):
        await bench.runtime.began.wait()
        await bench.pass_time(1)
    assert kind(only(bench)) == ("failed", "agent_stopped")
    assert len(await put_aside(bench)) == 2


async def test_a_message_that_meets_the_signal_at_its_last_delivery_is_run() -> None:
    bench = at_the_last_delivery()
    bench.policy["grace"] = 2 * RUN
    held = bench.cloud.faults.hold("queue.receive")
    stop = asyncio.Event()
    task = asyncio.create_task(bench.agent().run(stop))
    await held.reached.wait()
    stop.set()
    await bench.publish("order-1")
    held.release()
    await task
    assert only(bench).status == "completed"


async def test_an_agent_that_is_cancelled_answers_before_it_ends() -> None:
    bench = at_the_last_delivery()
    await bench.publish("long")
    task = asyncio.create_task(bench.agent().run(asyncio.Event()))
    await bench.runtime.began.wait()
    task.cancel()
    await asyncio.wait({task})
    assert kind(only(bench)) == ("failed", "agent_stopped")
    assert len(await put_aside(bench)) == 1


async def test_without_dead_letters_the_next_agent_answers() -> None:
    bench = at_the_last_delivery(dead_letters=False)
    await bench.publish("long")
    async with told_to_stop_after(bench):
        await bench.runtime.began.wait()
    assert bench.told() == []
    async with bench.working():
        told = await bench.settled("long")
    assert kind(told) == ("failed", "attempts_exhausted")
