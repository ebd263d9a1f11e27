"""An agent of several queues: whose messages it takes, and what asking for them costs."""

import asyncio
from collections import Counter

import pytest

from queue_agent.tasks import background
from queue_agent.wire.errors import Unavailable
from queue_agent.worker.queue_order import QueueOrder, Reserved, Weighted
from several_queues import NAMES, Several
from worker_bench import drawing, failing

pytestmark = pytest.mark.looptime


async def test_the_urgent_queue_goes_first_and_the_others_have_their_turns() -> None:
    several = Several()
    for number in range(5):
        for name in reversed(NAMES):
            several.put(name, f"{name}-{number}")
    async with several.bench.working():
        await several.emptied()
    queues = [job_id.partition("-")[0] for job_id in several.order_of_runs()]
    assert queues == ["high"] * 5 + ["normal"] * 5 + ["low"] * 5


async def test_a_low_job_is_done_though_high_ones_never_end() -> None:
    several = Several()
    several.put("high", *(f"high-{number}" for number in range(60)))
    several.put("low", "low-1")
    async with several.bench.working():
        await several.bench.answer("low-1")
    assert several.order_of_runs().index("low-1") <= 22


@pytest.mark.parametrize(
    ("order", "shares"),
    [
        (Weighted(NAMES, {"high": 6, "normal": 3, "low": 1}), (60, 30, 10)),
        (Reserved(NAMES, {"normal": 30, "low": 10}), (60, 30, 10)),
    ],
)
async def test_while_all_have_work_the_queues_have_their_shares(
    order: QueueOrder, shares: tuple[int, ...]
) -> None:
    several = Several(order=order)
    for name in NAMES:
        several.put(name, *(f"{name}-{number}" for number in range(100)))
    async with several.bench.working():
        await several.bench.answer(nth=100)
    first = Counter(job_id.partition("-")[0] for job_id in several.order_of_runs()[:100])
    assert tuple(first[name] for name in NAMES) == pytest.approx(shares, abs=4)


async def test_a_queue_without_work_leaves_no_gap() -> None:
    several = Several(order=Weighted(NAMES, {"high": 100}))
    several.put("low", *(f"low-{number}" for number in range(20)))
    agent = several.bench.agent()
    async with several.bench.working(agent):
        await several.emptied()
        busy, idle = agent.slots.gpu.seconds()
    assert busy == pytest.approx(200, abs=0.1)
    assert idle < 1


@pytest.mark.parametrize("name", NAMES)
async def test_a_message_of_any_queue_is_taken_at_once_while_the_others_are_empty(
    name: str,
) -> None:
    several = Several()
    async with several.bench.working():
        await several.bench.pass_time(33)
        several.put(name, "order-1")
        notification = await several.bench.answer("order-1")
    assert notification.timings.queued < 0.1


async def test_an_idle_agent_asks_each_queue_once_in_five_seconds() -> None:
    several = Several()
    async with several.bench.working():
        await several.bench.pass_time(10)
        before = several.receives()
        await several.bench.pass_time(600)
        asked = several.receives() - before
    assert asked <= 3 * 600 / 5 + 3


async def test_a_busy_agent_asks_empty_queues_once_a_second_at_most() -> None:
    several = Several()
    several.bench.runtime.usually = drawing(0.1)
    several.put("low", *(f"low-{number}" for number in range(500)))
    async with several.bench.working():
        await several.emptied()
        asked = several.receives()
    taken = 500
    assert asked <= taken + 2 * 60


async def test_no_more_is_held_than_may_be_over_all_queues() -> None:
    several = Several(prefetch=1)
    held = []

    async def watch() -> None:
        while True:
            now = [await queue.backlog() for queue in several.queues.values()]
            held.append(sum(one.in_flight for one in now))
            await asyncio.sleep(0.2)

    async with several.bench.working(), background(watch()):
        await several.bench.pass_time(12)
        for name in NAMES:
            several.put(name, *(f"{name}-{number}" for number in range(5)))
        await several.emptied()
    assert max(held) == 2  # one runs, and one is held ahead


async def test_what_is_given_back_at_the_end_is_back_in_its_own_queue() -> None:
    several = Several(grace=0.0)
    several.put("high", "high-1")
    several.put("low", "low-1", "low-2")
    async with several.bench.working():
        await several.bench.pass_time(15)
    back = {name: len(queue.bodies) for name, queue in several.queues.items()}
    assert back == {"high": 0, "normal": 0, "low": 2}
    again = await several.queues["low"].receive(2, wait=0, visibility_timeout=30)
    assert len(again) == 2


async def test_each_queue_has_its_own_number_of_deliveries_and_its_own_dead_letters() -> None:
    several = Several(max_receives={"high": 1, "low": 2}, retry_delay=0.5)
    several.bench.runtime.usually = failing()
    several.put("high", "high-1")
    several.put("low", "low-1")
    async with several.bench.working():
        first = await several.bench.answer("high-1")
        second = await several.bench.answer("low-1")
        await several.emptied()
    assert (first.attempt, second.attempt) == (1, 2)


async def test_a_queue_that_refuses_holds_up_no_other_and_is_told_of() -> None:
    several = Several()
    several.faults["high"].outage(Unavailable("no right to", type="cloud_unauthorized"))
    agent = several.bench.agent()
    async with several.bench.working(agent):
        await several.bench.pass_time(60)
        asked = len(several.faults["high"].calls)
        several.put("low", "low-1")
        notification = await several.bench.answer("low-1")
        assert (await agent.readiness())["queue"] == "high: no right to"
        several.faults["high"].clear()
        several.put("high", "high-1")
        await several.bench.answer("high-1")
        assert (await agent.readiness())["queue"] is None
    assert notification.timings.queued < 0.1
    assert asked < 15


async def test_an_agent_that_shall_do_one_job_takes_one_and_looks_at_all_queues() -> None:
    several = Several(max_jobs=1)
    agent = several.bench.agent()
    stop = asyncio.Event()
    running = asyncio.create_task(agent.run(stop))
    await several.bench.pass_time(30)
    several.put("low", "low-1", "low-2")
    several.put("normal", "normal-1")
    await running
    left = {name: len(queue.bodies) for name, queue in several.queues.items()}
    assert sum(left.values()) == 2
    assert len(several.bench.told()) == 1
