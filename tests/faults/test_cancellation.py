"""Jobs that are cancelled or expire while they wait, and cancellations that come too late."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from faults.ledger import is_whole
from faults.rig import Rig
from faults.striking import GENERATIONS, MANIFESTS, MARKERS, Hold, both, naming
from harness import until
from queue_agent.testing.fault_proxy import Reset, Status, on_path
from queue_agent.wire.errors import JobExpired
from queue_agent.wire.job import Job, Metadata
from queue_agent.wire.layout import CANCELLED
from queue_agent.worker.cancellation import CancellationWatch


async def _cancel(rig: Rig, job_id: str) -> None:
    await rig.cancel(job_id)


async def _let_expire(rig: Rig, job_id: str) -> None:
    """Nothing to do: time does it."""


@pytest.mark.parametrize("withdraw", [_cancel, _let_expire], ids=["cancelled", "expired"])
async def test_a_job_cancelled_while_it_waits_is_answered_before_its_turn(
    any_rig: Rig, withdraw: Callable[[Rig, str], Awaitable[None]]
) -> None:
    await any_rig.agent()
    hold = Hold()
    with any_rig.runtime.fault(hold, GENERATIONS):
        (first,) = await any_rig.publish("running")
        await hold.arrived.wait()
        soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        metadata: dict[str, Any] = {"expires_at": soon} if withdraw is _let_expire else {}
        ends = {"cancelled", "expired"}
        (second,) = await any_rig.publish("waiting", steps=50, ends=ends, **metadata)

        async def received() -> bool:
            return (await any_rig.scene.depth())[1] == 2 or bool(any_rig.scene.answers(second))

        await until(received, what="the receipt of the second")
        await withdraw(any_rig, second)
        await any_rig.scene.answer(second)
        assert any_rig.scene.answers(first) == []
        hold.let_go()
        (await any_rig.settled()).check()
    assert not any(is_whole(run) for run in await any_rig.runs(second))


async def test_a_cancel_marker_is_found_though_the_bucket_failed_at_first(any_rig: Rig) -> None:
    await any_rig.agent()
    with any_rig.cloud.fault(Reset(), MARKERS, times=6):
        (job_id,) = await any_rig.publish("unwanted", steps=1000, ends={"cancelled"})
        await any_rig.running(job_id)
        await any_rig.cancel(job_id)
        (await any_rig.settled()).check()
    (run,) = await any_rig.runs(job_id)
    assert run["interrupted"] is True


async def test_a_job_is_cancelled_though_the_bucket_may_not_be_listed(rig: Rig) -> None:
    await rig.agent()
    of_markers = f"prefix={CANCELLED}%2F"
    listings = both(on_path("/*-results", "GET"), lambda request: of_markers in request.target)
    with rig.cloud.fault(Status(403), listings):
        (job_id,) = await rig.publish("unlisted", steps=1000, ends={"cancelled"})
        await rig.running(job_id)
        await rig.cancel(job_id)
        (await rig.settled()).check()
    assert rig.cloud.count(listings) == 1
    (run,) = await rig.runs(job_id)
    assert run["interrupted"] is True


async def test_a_marker_after_completion_changes_nothing(any_rig: Rig) -> None:
    await any_rig.agent()
    (job_id,) = await any_rig.publish("done")
    await any_rig.scene.answer(job_id)
    await any_rig.cancel(job_id)
    await any_rig.publish_as(job_id)
    assert (await any_rig.scene.answer(job_id, nth=2))["status"] == "completed"
    (await any_rig.settled()).check(renotified=1)


async def test_a_cancelled_job_whose_agent_was_killed_stays_cancelled(any_brief_rig: Rig) -> None:
    agent = await any_brief_rig.agent()
    hold = Hold()
    (job_id,) = await any_brief_rig.publish("withdrawn", steps=1000, ends={"cancelled"})
    answers = both(MANIFESTS, naming(job_id))
    with any_brief_rig.cloud.fault(hold, answers):
        await any_brief_rig.running(job_id)
        await any_brief_rig.cancel(job_id)
        await hold.arrived.wait()
        agent.kill()
        await agent.ended()
    (await any_brief_rig.settled()).check()
    assert not any(is_whole(run) for run in await any_brief_rig.runs(job_id))
    assert any_brief_rig.runtime.count(both(GENERATIONS, naming(job_id))) <= 2


async def test_a_jump_of_the_clock_past_the_expiry_is_noticed(rig: Rig) -> None:
    now = time.time()
    expires = datetime.fromtimestamp(now + 1800, UTC)
    metadata = Metadata(id="jump", tasktype="text-to-image", expires_at=expires)
    bucket = rig.scene.cloud.bucket(rig.scene.deployment.bucket)
    watch = CancellationWatch(bucket, poll=0, now=lambda: now)

    async def work() -> None:
        nonlocal now
        async with watch.wanted(Job(metadata=metadata, content={})):
            now += 3600
            await asyncio.Event().wait()

    with pytest.raises(JobExpired):
        await work()
