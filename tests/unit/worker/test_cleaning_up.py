"""When the runtime is told to remove what a job has left on it, and that no job hangs on it."""

import asyncio

import pytest

from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.layout import cancel_marker
from worker_bench import RUN, Bench, drawing, failing

pytestmark = pytest.mark.looptime


async def test_a_job_is_cleaned_up_after_once_its_result_is_stored(bench: Bench) -> None:
    stored: list[int] = []

    async def look() -> None:
        stored.append(len(bench.manifests()))

    bench.runtime.cleaning = look
    await bench.publish("order-1")
    async with bench.working():
        assert (await bench.settled("order-1")).status == "completed"
    assert bench.runtime.cleaned == [("order-1", False)]
    assert stored == [1]


async def test_a_failed_attempt_says_that_the_job_may_come_again(bench: Bench) -> None:
    bench.runtime.script("order-1", failing(), failing(), failing(), failing(), drawing())
    await bench.publish("order-1")
    async with bench.working():
        assert (await bench.settled("order-1")).status == "completed"
    assert bench.runtime.cleaned == [("order-1", True), ("order-1", False)]


async def test_the_last_attempt_leaves_nothing_for_another(bench: Bench) -> None:
    bench.runtime.script("order-1", failing())
    await bench.publish("order-1")
    async with bench.working():
        assert (await bench.settled("order-1")).status == "failed"
    assert bench.runtime.cleaned == [("order-1", True), ("order-1", True), ("order-1", False)]


async def test_a_refused_job_is_cleaned_up_after(bench: Bench) -> None:
    bench.runtime.script("order-1", failing(Rejected("no")))
    await bench.publish("order-1")
    await bench.publish("order-2", {"prompt": "x", "refused": True})
    async with bench.working():
        await bench.settled("order-1")
        await bench.settled("order-2")
    assert sorted(bench.runtime.cleaned) == [("order-1", False), ("order-2", False)]


async def test_a_cancelled_job_is_cleaned_up_after(bench: Bench) -> None:
    await bench.publish("order-1")
    async with bench.working():
        await bench.runtime.began.wait()
        await bench.results.write(cancel_marker("order-1"), b"", media_type="text/plain")
        assert (await bench.settled("order-1")).status == "cancelled"
    assert bench.runtime.cleaned == [("order-1", False)]


async def test_what_an_agent_left_that_died_after_storing_goes_with_the_redelivery(
    bench: Bench,
) -> None:
    await bench.publish("order-1")
    async with bench.working():
        await bench.settled("order-1")
    bench.runtime.cleaned.clear()
    await bench.publish("order-1")
    async with bench.working():
        assert (await bench.answer("order-1", nth=2)).redelivered
        await bench.emptied()
    assert bench.runtime.cleaned == [("order-1", False)]
    assert bench.runtime.runs == ["order-1"]


async def test_a_result_that_cannot_be_stored_is_another_attempt(bench: Bench) -> None:
    bench.policy["store_patience"] = 5.0
    bench.cloud.faults.fail("bucket.write", Unavailable("the bucket is down"), times=12)
    await bench.publish("order-1")
    async with bench.working():
        assert (await bench.settled("order-1")).status == "completed"
    assert bench.runtime.cleaned[0] == ("order-1", True)
    assert bench.runtime.cleaned[-1] == ("order-1", False)


@pytest.mark.parametrize("error", [Unavailable("no"), Rejected("no"), OSError("no"), KeyError("x")])
async def test_no_job_fails_because_something_stays(bench: Bench, error: Exception) -> None:
    async def fail() -> None:
        raise error

    bench.runtime.cleaning = fail
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, told.attempt, len(bench.runtime.runs)) == ("completed", 1, 1)


async def test_a_runtime_that_hangs_while_it_cleans_up_holds_up_no_answer_for_long(
    bench: Bench,
) -> None:
    bench.runtime.cleaning = lambda: asyncio.sleep(1e9)
    await bench.publish("order-1")
    async with bench.working():
        began = asyncio.get_running_loop().time()
        assert (await bench.settled("order-1")).status == "completed"
        assert asyncio.get_running_loop().time() - began < RUN + 30.0


async def test_a_second_message_of_the_job_waits_until_the_first_has_cleaned_up(
    bench: Bench,
) -> None:
    """Else what the second prepares would be removed."""
    bench.runtime.script("order-1", failing(), failing(), failing(), failing(), drawing())
    order: list[str] = []

    async def slowly() -> None:
        order.append(f"cleaning after {len(bench.runtime.prepared)}")
        await asyncio.sleep(3.0)
        order.append(f"cleaned after {len(bench.runtime.prepared)}")

    bench.runtime.cleaning = slowly
    await bench.publish("order-1")
    await bench.publish("order-1")
    async with bench.working():
        await bench.answer("order-1", nth=2)
        await bench.emptied()
    for begun, done in zip(order[::2], order[1::2], strict=True):
        assert begun.removeprefix("cleaning") == done.removeprefix("cleaned")


async def test_messages_that_hold_no_job_leave_nothing(bench: Bench) -> None:
    jobs = bench.cloud.topic(bench.deployment.job_topic)
    await jobs.publish("{", {"runtime": "sdruntime"})
    async with bench.working():
        await bench.answer()
        await bench.emptied()
    assert bench.runtime.cleaned == []
