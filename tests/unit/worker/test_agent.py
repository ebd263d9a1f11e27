"""Pulling, overlapping and draining: who is asked for messages when, and what is given back."""

import asyncio
import math

import pytest

from queue_agent.wire.errors import Unavailable
from queue_agent.worker.agent import Agent
from worker_bench import RUN, Bench, drawing

pytestmark = pytest.mark.looptime

OUTAGE = Unavailable("the cloud does not answer", type="cloud_unavailable")


async def ended(stop: asyncio.Event, task: asyncio.Task[None]) -> float:
    """Tell the agent to stop; the seconds until it has."""
    loop = asyncio.get_running_loop()
    told = loop.time()
    stop.set()
    await task
    return loop.time() - told


async def started(bench: Bench) -> tuple[Agent, asyncio.Event, asyncio.Task[None]]:
    agent, stop = bench.agent(), asyncio.Event()
    return agent, stop, asyncio.create_task(agent.run(stop))


async def test_nothing_is_received_while_the_runtime_is_not_ready(bench: Bench) -> None:
    bench.runtime.up = False
    await bench.publish("order-1")
    async with bench.working():
        await bench.pass_time(600)
        assert bench.operations()["queue.receive"] == 0
        bench.runtime.up = True
        assert (await bench.settled("order-1")).attempt == 1


async def test_a_queue_that_does_not_answer_is_asked_again_ever_less_often(bench: Bench) -> None:
    bench.cloud.faults.fail("queue.receive", OUTAGE, times=math.inf)
    agent, stop, task = await started(bench)
    await bench.pass_time(120)
    assert 8 <= bench.operations()["queue.receive"] <= 20
    well = {"runtime": None, "queue": None, "topic": None, "bucket": None}
    assert (await agent.readiness()) == {**well, "queue": OUTAGE.message}
    bench.cloud.faults.clear()
    await bench.pass_time(60)
    assert (await agent.readiness()) == well
    await ended(stop, task)


async def test_the_next_job_is_prepared_while_one_runs(bench: Bench) -> None:
    await bench.publish("order-1")
    await bench.publish("order-2")
    async with bench.working():
        await bench.runtime.began.wait()
        await bench.pass_time(RUN / 2)
        assert (bench.runtime.runs, bench.runtime.prepared) == (["order-1"], ["order-1", "order-2"])
        await bench.answer("order-2")


async def test_a_stream_of_jobs_keeps_the_gpu_busy(bench: Bench) -> None:
    for number in range(20):
        await bench.publish(f"order-{number}")
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with bench.working():
        for number in range(20):
            await bench.answer(f"order-{number}")
        assert loop.time() - began == pytest.approx(20 * RUN, abs=0.5)


async def test_a_long_job_holds_no_other_back_until_its_end_is_near(bench: Bench) -> None:
    for job_id in ("first", "second", "third", "fourth"):
        bench.runtime.script(job_id, drawing(600.0, progress=[0.25, 0.5, 0.75]))
        await bench.publish(job_id)
    async with bench.working():
        await bench.answer("first")
        await bench.answer("second")
        await bench.pass_time(300)
        assert "fourth" not in bench.runtime.prepared


async def test_a_job_far_longer_than_its_lease_is_delivered_once(bench: Bench) -> None:
    bench.runtime.script("order-1", drawing(20 * bench.visibility))
    await bench.publish("order-1")
    async with bench.working(bench.agent(), bench.agent()):
        told = await bench.settled("order-1")
    assert (told.attempt, bench.runtime.runs) == (1, ["order-1"])


async def test_a_lost_lease_ends_no_work(bench: Bench) -> None:
    bench.runtime.script("order-1", drawing(4 * bench.visibility), drawing(1.0))
    bench.cloud.faults.fail("queue.extend", OUTAGE, times=math.inf)
    await bench.publish("order-1")
    async with bench.working():
        await bench.answer("order-1", nth=2)
    assert bench.runtime.runs == ["order-1"], "its duplicate waited for the first"
    assert [told.redelivered for told in bench.told()][:2] == [False, True]


async def test_an_agent_with_a_number_of_jobs_ends_by_itself_after_them() -> None:
    bench = Bench(policy={"max_jobs": 2})
    for number in range(3):
        await bench.publish(f"order-{number}")
    async with asyncio.timeout(600):
        await bench.agent().run(asyncio.Event())
    assert len(bench.runtime.runs) == 2
    assert len(bench.queue.bodies) == 1


async def test_an_agent_with_an_idle_limit_ends_when_no_message_came_for_so_long() -> None:
    bench = Bench(policy={"idle_limit": 120.0})
    bench.runtime.script("order-1", drawing(500.0))
    await bench.publish("order-1")
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(1000):
        await bench.agent().run(asyncio.Event())
    assert bench.runtime.runs == ["order-1"], "a long run is no idling"
    assert asyncio.get_running_loop().time() - began == pytest.approx(620, abs=25)


async def test_the_load_of_a_model_is_no_idling() -> None:
    bench = Bench(policy={"idle_limit": 60.0})
    bench.runtime.up = False
    working = asyncio.create_task(bench.agent().run(asyncio.Event()))
    await bench.pass_time(1800)
    bench.runtime.up = True
    await bench.pass_time(30)
    assert not working.done()
    await bench.publish("order-1")
    async with asyncio.timeout(600):
        await working
    assert bench.runtime.runs == ["order-1"]


async def test_an_agent_whose_number_of_jobs_never_comes_ends_at_the_idle_limit() -> None:
    bench = Bench(policy={"max_jobs": 1, "idle_limit": 0.0})
    async with asyncio.timeout(60):
        await bench.agent().run(asyncio.Event())
    assert bench.runtime.runs == []


async def test_told_to_stop_it_finishes_what_runs_and_gives_the_rest_back(bench: Bench) -> None:
    await bench.publish("runs")
    await bench.publish("waits")
    _, stop, task = await started(bench)
    await bench.runtime.began.wait()
    await bench.pass_time(RUN / 2)
    assert await ended(stop, task) == pytest.approx(RUN / 2, abs=0.5)
    assert (bench.runtime.runs, bench.runtime.interrupted) == (["runs"], [])
    assert [manifest.id for manifest in bench.manifests()] == ["runs"]
    (waiting,) = await bench.queue.receive(10, wait=0, visibility_timeout=1)
    assert '"waits"' in waiting.body.replace("\\", "")


async def test_what_runs_longer_than_the_grace_is_interrupted_and_given_back() -> None:
    bench = Bench(policy={"grace": 5.0})
    bench.runtime.script("order-1", drawing(600.0))
    await bench.publish("order-1")
    _, stop, task = await started(bench)
    await bench.runtime.began.wait()
    assert await ended(stop, task) == pytest.approx(5.0, abs=0.5)
    assert (bench.runtime.interrupted, bench.manifests()) == (["order-1"], [])
    assert len(await bench.queue.receive(10, wait=0, visibility_timeout=1)) == 1


async def test_an_idle_agent_ends_at_once(bench: Bench) -> None:
    _, stop, task = await started(bench)
    await bench.pass_time(5)
    assert await ended(stop, task) < 0.5


async def test_a_message_that_meets_the_signal_is_given_back(bench: Bench) -> None:
    held = bench.cloud.faults.hold("queue.receive")
    _, stop, task = await started(bench)
    await held.reached.wait()
    stop.set()
    await bench.publish("order-1")
    held.release()
    await task
    assert bench.runtime.runs == []
    assert len(await bench.queue.receive(1, wait=0, visibility_timeout=1)) == 1


async def test_a_release_that_the_queue_does_not_take_runs_out_by_itself(bench: Bench) -> None:
    bench.runtime.script("order-1", drawing(600.0))
    bench.policy["grace"] = 0.0
    await bench.publish("order-1")
    _, stop, task = await started(bench)
    await bench.runtime.began.wait()
    bench.cloud.faults.fail("queue.extend", OUTAGE, times=math.inf)
    await ended(stop, task)
    assert await bench.queue.receive(1, wait=0, visibility_timeout=1) == []
    assert len(await bench.queue.receive(1, wait=bench.visibility, visibility_timeout=1)) == 1


async def test_a_release_under_way_is_not_cut_by_the_graces_end(bench: Bench) -> None:
    bench.policy["grace"] = 1.0
    bench.runtime.script("runs", drawing(600.0))
    await bench.publish("runs")
    await bench.publish("waits")
    _, stop, task = await started(bench)
    await bench.runtime.began.wait()
    await bench.pass_time(1)
    held = bench.cloud.faults.hold("queue.extend", matching="waits")
    asyncio.get_running_loop().call_later(3, held.release)
    await ended(stop, task)
    messages = await bench.queue.receive(10, wait=0, visibility_timeout=1)
    assert len(messages) == 2


async def test_busy_and_idle_say_whether_messages_are_held(bench: Bench) -> None:
    agent, stop, task = await started(bench)
    await bench.pass_time(1)
    assert not agent.busy.is_set()
    await bench.publish("order-1")
    await agent.busy.wait()
    assert not agent.idle.is_set()
    await agent.idle.wait()
    assert not agent.busy.is_set()
    await ended(stop, task)


async def test_an_agent_that_runs_two_at_a_time_overlaps_them(bench: Bench) -> None:
    """The runtime may learn only when it is up how much it takes."""
    bench.runtime.script("order-1", drawing(RUN))
    agent, stop, task = await started(bench)
    bench.runtime.concurrency, bench.runtime.backlog = 2, 1
    await bench.pass_time(30)
    for number in range(3):
        await bench.publish(f"order-{number}")
    await bench.pass_time(1)
    assert agent.slots.counts()["running"] == 2
    assert agent.slots.counts()["submitted"] == 1
    await ended(stop, task)
