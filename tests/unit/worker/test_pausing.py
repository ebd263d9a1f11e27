"""What operators pause is noticed within seconds, costs nobody a job, and is no fault."""

import asyncio
import math
from datetime import UTC, datetime
from typing import Any

import pytest

from queue_agent.cloud.pauses import change_pauses
from queue_agent.runtime.model_use import ModelUse
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.layout import cancel_marker, pauses_key
from queue_agent.wire.pause import Pause, Pauses, Window
from worker_bench import EPOCH, NAME, Bench, drawing

pytestmark = pytest.mark.looptime

SOON = 10.0
"""Seconds in which what was paused or resumed is noticed."""


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(EPOCH + asyncio.get_running_loop().time() + seconds, UTC)


async def pause(bench: Bench, **what: Any) -> None:
    """As `queue-agent pause` does."""
    added = Pause(**what)
    await change_pauses(bench.results, NAME, lambda before: before.with_(added, bench.cloud.now()))


async def resume(bench: Bench, tenant: str | None = None, model: str | None = None) -> None:
    await change_pauses(
        bench.results, NAME, lambda before: before.without(tenant, model, bench.cloud.now())
    )


def received(bench: Bench) -> int:
    return bench.operations()["queue.receive"]


async def test_a_paused_runtime_takes_no_message_until_it_is_resumed(bench: Bench) -> None:
    await pause(bench)
    async with bench.working():
        await bench.publish("order-1")
        await bench.pass_time(3600)
        assert received(bench) == 0
        await resume(bench)
        began = bench.cloud.now()
        answer = await bench.settled("order-1")
    assert (answer.status, answer.attempt) == ("completed", 1)
    assert bench.cloud.now() - began < SOON + 20


async def test_what_a_poll_under_way_brings_is_put_off(bench: Bench) -> None:
    async with bench.working():
        await bench.pass_time(1)
        await pause(bench)
        await bench.pass_time(SOON)
        await bench.publish("order-1")
        await bench.pass_time(60)
        assert received(bench) == 1
        await bench.pass_time(600)
        assert received(bench) == 1
        assert bench.runtime.runs == []
        assert len(bench.queue.bodies) == 1
        await resume(bench)
        assert (await bench.settled("order-1")).attempt == 1


async def test_what_runs_ends_and_what_is_held_goes_back_without_costing_a_delivery() -> None:
    bench = Bench(policy={"prefetch": 5})
    bench.runtime.usually = drawing(0.5)
    async with bench.working():
        await bench.publish("warm")
        await bench.settled("warm")
        bench.runtime.usually = drawing(60)  # longer than is known, so others are held meanwhile
        for number in range(3):
            await bench.publish(f"order-{number}")
        await bench.pass_time(20)
        assert bench.runtime.runs == ["warm", "order-0"]
        assert (await bench.queue.backlog()).in_flight > 1
        await pause(bench)
        await bench.pass_time(SOON)
        assert (await bench.queue.backlog()).in_flight == 1
        await bench.answer("order-0")
        await bench.pass_time(600)
        assert bench.runtime.runs == ["warm", "order-0"]
        assert len(bench.queue.bodies) == 2
        await resume(bench)
        answers = [await bench.settled(f"order-{number}") for number in (1, 2)]
    assert [answer.attempt for answer in answers] == [1, 1]
    assert bench.dead_letters == []


async def test_a_paused_agent_is_ready_and_says_so(bench: Bench) -> None:
    agent = bench.agent()
    async with bench.working(agent):
        await pause(bench, reason="new nodes")
        await bench.pass_time(SOON)
        assert set((await agent.readiness()).values()) == {None}
        assert agent.notes() == {"paused": ["the runtime (new nodes)"]}
        await resume(bench)
        await bench.pass_time(SOON)
        assert agent.notes() == {}


async def test_an_agent_that_starts_paused_is_ready(bench: Bench) -> None:
    await pause(bench)
    agent = bench.agent()
    async with bench.working(agent):
        await bench.pass_time(SOON)
        assert set((await agent.readiness()).values()) == {None}


async def test_a_pause_ends_at_its_moment_by_itself(bench: Bench) -> None:
    await pause(bench, since=moment(100), until=moment(1000))
    async with bench.working():
        await bench.publish("before")
        await bench.settled("before")
        await bench.pass_time(150)
        await bench.publish("within")
        await bench.pass_time(600)
        assert bench.runtime.runs == ["before"]
        await bench.settled("within")
        assert 1000 <= asyncio.get_running_loop().time() < 1000 + SOON + 2 * 20


async def test_a_window_comes_again_each_day(bench: Bench) -> None:
    # the bench's time begins at midnight
    window = Window(start="01:00", seconds=1800, timezone="UTC")
    await pause(bench, window=window)
    async with bench.working():
        for day in range(2):
            await bench.pass_time(day * 86_400 + 3600 + 60 - asyncio.get_running_loop().time())
            await bench.publish(f"order-{day}")
            await bench.pass_time(1700)
            assert f"order-{day}" not in bench.runtime.runs
            await bench.settled(f"order-{day}")


async def test_an_unreachable_bucket_leaves_the_last_known_state(bench: Bench) -> None:
    async with bench.working():
        await pause(bench)
        await bench.pass_time(SOON)
        bench.cloud.faults.fail(
            "bucket.read", Unavailable("down"), times=math.inf, matching=pauses_key(NAME)
        )
        bench.results.objects.clear()
        await bench.publish("order-1")
        await bench.pass_time(600)
        assert bench.runtime.runs == []
        bench.cloud.faults.clear()
        assert (await bench.settled("order-1")).status == "completed"


async def test_a_marker_that_cannot_be_read_stops_nobody_and_makes_nobody_unready(
    bench: Bench,
) -> None:
    forbidden = Unavailable("forbidden", type="cloud_unauthorized")
    bench.cloud.faults.fail("bucket.read", forbidden, times=math.inf, matching=pauses_key(NAME))
    agent = bench.agent()
    async with bench.working(agent):
        await bench.publish("order-1")
        assert (await bench.settled("order-1")).status == "completed"
        await bench.pass_time(300)
        assert set((await agent.readiness()).values()) == {None}


async def test_a_marker_that_hangs_holds_nobody_up(bench: Bench) -> None:
    bench.cloud.faults.hold("bucket.read", matching=pauses_key(NAME))
    async with bench.working():
        await bench.publish("order-1")
        assert (await bench.settled("order-1")).status == "completed"


async def test_a_marker_that_nobody_understands_changes_nothing(bench: Bench) -> None:
    await pause(bench)
    async with bench.working():
        await bench.pass_time(SOON)
        bench.results.put(pauses_key(NAME), b'{"pauses": [{"moon": "full"}]}')
        await bench.publish("order-1")
        await bench.pass_time(100)
        assert bench.runtime.runs == []
        bench.results.put(pauses_key(NAME), b"{}")
        await bench.settled("order-1")


async def test_nobody_looks_where_it_is_switched_off() -> None:
    bench = Bench(policy={"pause_poll": 0.0})
    await pause(bench)
    async with bench.working():
        await bench.publish("order-1")
        assert (await bench.settled("order-1")).status == "completed"


async def test_an_agent_with_an_idle_limit_ends_while_paused() -> None:
    bench = Bench(policy={"idle_limit": 30.0})
    await pause(bench)
    agent = bench.agent()
    async with asyncio.timeout(300):
        await agent.run(asyncio.Event())
    assert received(bench) == 0


@pytest.mark.parametrize("fifo", [False, True])
async def test_a_paused_tenants_jobs_wait_without_becoming_dead_letters(*, fifo: bool) -> None:
    bench = Bench(fifo=fifo, max_receives=3)
    await pause(bench, tenant="noisy")
    async with bench.working():
        await bench.publish("theirs", tenant="noisy")
        await bench.publish("ours", tenant="quiet")
        assert (await bench.answer("ours")).status == "completed"
        await bench.pass_time(6 * 3600)
        assert bench.runtime.runs == ["ours"]
        assert bench.dead_letters == []
        await resume(bench, tenant="noisy")
        answer = await bench.settled("theirs")
    assert answer.status == "completed"
    assert bench.told("theirs") == [answer]


async def test_a_resumed_tenants_jobs_come_within_five_minutes(bench: Bench) -> None:
    await pause(bench, tenant="noisy")
    async with bench.working():
        await bench.publish("theirs", tenant="noisy")
        await bench.pass_time(2000)
        await resume(bench, tenant="noisy")
        began = bench.cloud.now()
        answer = await bench.settled("theirs")
        assert bench.cloud.now() - began < 300 + SOON + 20
    assert answer.attempt == 1


async def test_many_jobs_of_a_paused_tenant_do_not_hold_up_the_others(bench: Bench) -> None:
    await pause(bench, tenant="noisy")
    for number in range(200):
        await bench.publish(f"theirs-{number}", tenant="noisy")
    await bench.publish("ours")
    async with bench.working():
        began = bench.cloud.now()
        assert (await bench.answer("ours")).status == "completed"
        assert bench.cloud.now() - began < 60
        assert len(bench.queue.bodies) >= 200
        assert (await bench.queue.backlog()).in_flight <= 2, "nobody shall start pods for them"


async def test_a_tenants_job_that_is_held_is_put_off_and_the_next_one_runs() -> None:
    bench = Bench(policy={"prefetch": 5})
    bench.runtime.usually = drawing(0.5)
    async with bench.working():
        await bench.publish("warm")
        await bench.settled("warm")
        bench.runtime.usually = drawing(60)  # longer than is known, so others are held meanwhile
        await bench.publish("running", tenant="noisy")
        await bench.publish("held", tenant="noisy")
        await bench.publish("ours")
        await bench.pass_time(20)
        assert (await bench.queue.backlog()).in_flight > 1
        await pause(bench, tenant="noisy")
        await bench.answer("running")
        await bench.answer("ours")
        await bench.pass_time(600)
        assert bench.runtime.runs == ["warm", "running", "ours"]
        await resume(bench, tenant="noisy")
        assert (await bench.settled("held")).attempt == 1


async def test_only_the_jobs_for_a_paused_model_wait(bench: Bench) -> None:
    await pause(bench, model="old")
    async with bench.working():
        await bench.publish("for-old", {"prompt": "a", "model": "old"})
        await bench.publish("for-new", {"prompt": "a", "model": "new"})
        await bench.answer("for-new")
        await bench.pass_time(1000)
        assert bench.runtime.runs == ["for-new"]
        await resume(bench, model="old")
        assert (await bench.settled("for-old")).attempt == 1


@pytest.mark.parametrize("said", ["sdxl", "folder/sdxl.safetensors", "sdxl [0123456789]"])
async def test_a_model_is_known_by_whatever_name_and_by_what_a_workflow_has_loaded(
    bench: Bench, said: str
) -> None:
    bench.runtime.needs = {"workflow": ModelUse.named(["sdxl.safetensors"], ["style"])}
    await pause(bench, model=said)
    async with bench.working():
        await bench.publish("named", {"prompt": "a", "model": "sdxl.safetensors"})
        await bench.publish("workflow", {"nodes": {}})
        await bench.publish("other")
        await bench.answer("other")
        await bench.pass_time(1000)
        assert bench.runtime.runs == ["other"]
        assert ("workflow", True) in bench.runtime.cleaned
        await resume(bench, model=said)
        await bench.answer("named")
        assert (await bench.answer("workflow")).attempt == 1


async def test_a_paused_tenants_job_that_nobody_wants_any_more_is_answered(bench: Bench) -> None:
    await pause(bench, tenant="noisy")
    async with bench.working():
        past = moment(-1).isoformat()
        await bench.publish("theirs", tenant="noisy", expires_at=past)
        assert (await bench.settled("theirs")).status == "expired"


async def test_a_paused_tenants_job_that_expires_meanwhile_is_answered_then(bench: Bench) -> None:
    await pause(bench, tenant="noisy")
    async with bench.working():
        await bench.publish("theirs", tenant="noisy", expires_at=moment(100).isoformat())
        began = bench.cloud.now()
        assert (await bench.settled("theirs")).status == "expired"
        assert 100 <= bench.cloud.now() - began < 130


@pytest.mark.parametrize("what", [{"tenant": "noisy"}, {"model": "sdxl"}])
async def test_a_paused_job_can_be_cancelled(bench: Bench, what: dict[str, str]) -> None:
    await pause(bench, **what)
    async with bench.working():
        await bench.publish("theirs", {"prompt": "a", "model": "sdxl"}, tenant="noisy")
        await bench.pass_time(1000)
        bench.results.put(cancel_marker("theirs"), b"")
        began = bench.cloud.now()
        assert (await bench.settled("theirs")).status == "cancelled"
        assert bench.cloud.now() - began < 300 + 20
        assert bench.runtime.runs == []


async def test_a_job_is_never_left_to_the_dead_letters_unheard_where_it_cannot_be_put_off() -> None:
    bench = Bench(max_receives=1)
    bench.cloud.faults.fail("queue.send", Unavailable("forbidden"), times=math.inf)
    await pause(bench, tenant="noisy")
    async with bench.working():
        await bench.publish("theirs", tenant="noisy")
        answer = await bench.answer("theirs")
    assert answer.error is not None
    assert (answer.status, answer.error.type, answer.error.final) == ("failed", "paused", True)


async def test_looking_costs_one_small_request_each_five_seconds(bench: Bench) -> None:
    await pause(bench)
    async with bench.working():
        await bench.pass_time(600)
    looks = [call for call in bench.cloud.calls if call.subject == pauses_key(NAME)]
    assert len(looks) <= 4 + 600 / 5


def test_changes_of_several_operators_at_once_all_stay() -> None:
    now = 0.0
    both = Pauses().with_(Pause(tenant="a"), now).with_(Pause(tenant="b"), now)
    assert both.with_(Pause(tenant="a"), now) == both
    later = both.with_(Pause(tenant="a", reason="still"), now)
    assert [one.reason for one in later.pauses] == ["", "still"]
    assert later.without("b", None, now).pauses == (Pause(tenant="a", reason="still"),)
