"""Jobs that have lost their attempts on spot nodes go to the queue for on-demand capacity."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy

import pytest

from queue_agent.cloud.memory import MemoryCloud
from queue_agent.wire.errors import LeaseLost, Unavailable
from queue_agent.worker.agent import Agent
from worker_bench import Bench, LoopClock, ScriptedRuntime, drawing

pytestmark = pytest.mark.looptime


class TwoQueues:
    """Agents on spot and on demand, of one runtime, with one topic and one bucket."""

    def __init__(self, *, fifo: bool = False, max_receives: int = 3) -> None:
        cloud = MemoryCloud(LoopClock())
        kind = ".fifo" if fifo else ""
        self.demand_queue = cloud.queue(f"on-demand{kind}")
        self.spot = Bench(
            cloud=cloud,
            fifo=fifo,
            max_receives=max_receives,
            runtime=ScriptedRuntime(),
            on_demand=f"on-demand{kind}",
        )
        self.demand_runtime = ScriptedRuntime()

    def demand_agent(self) -> Agent:
        """One of the on-demand queue, that sends nothing on."""
        demand = copy(self.spot)
        demand.on_demand, demand.queue = None, self.demand_queue
        return demand.agent(self.demand_runtime)

    async def lose(self, job_id: str, attempts: int) -> None:
        """Nodes that go with the job, after they have taken it."""
        await self.spot.publish(job_id)
        for _ in range(attempts):
            (message,) = await self.spot.queue.receive(1, wait=5, visibility_timeout=30)
            await self.spot.queue.extend(message, 0)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        async with self.spot.working(self.spot.agent(), self.demand_agent()):
            yield

    async def emptied(self) -> None:
        await self.spot.emptied()
        while self.demand_queue.bodies:
            await self.spot.pass_time(0.1)


@pytest.mark.parametrize("lost", [0, 1])
async def test_a_job_that_has_lost_less_stays_on_spot(lost: int) -> None:
    two = TwoQueues()
    await two.lose("order-1", lost)
    async with two.working():
        answer = await two.spot.answer("order-1")
        await two.emptied()
    assert answer.status == "completed"
    assert two.demand_runtime.runs == []


@pytest.mark.parametrize("fifo", [False, True])
async def test_a_job_that_has_lost_two_attempts_is_done_on_demand_and_answered_once(
    *, fifo: bool
) -> None:
    two = TwoQueues(fifo=fifo)
    await two.lose("order-1", 2)
    async with two.working():
        answer = await two.spot.answer("order-1")
        await two.emptied()
    assert (answer.status, answer.attempt, answer.redelivered) == ("completed", 1, False)
    assert two.spot.runtime.runs == []
    assert two.demand_runtime.runs == ["order-1"]
    assert len(two.spot.told("order-1")) == 1
    assert two.spot.dead_letters == []


async def test_a_job_that_cannot_be_sent_is_done_on_spot() -> None:
    two = TwoQueues()
    two.spot.cloud.faults.fail("queue.send", Unavailable("no"), times=10)
    await two.lose("order-1", 2)
    async with two.working():
        answer = await two.spot.answer("order-1")
        await two.emptied()
    assert answer.status == "completed"
    assert two.spot.runtime.runs == ["order-1"]


async def test_a_job_that_is_sent_and_not_removed_is_done_once() -> None:
    """The message comes again, and its agent waits for what is done on demand."""
    two = TwoQueues(max_receives=6)
    two.demand_runtime.usually = drawing(100)
    two.spot.cloud.faults.fail("queue.delete", LeaseLost("taken away"))
    await two.lose("order-1", 2)
    async with two.working():
        await two.spot.answer("order-1", nth=2)
        await two.emptied()
    assert two.demand_runtime.runs == ["order-1"]
    told = two.spot.told("order-1")
    assert [(one.status, one.redelivered) for one in told] == [
        ("completed", False),
        ("completed", True),
    ]


async def test_a_job_of_which_it_is_not_known_whether_it_was_sent_is_done_once() -> None:
    two = TwoQueues(max_receives=6)
    two.spot.cloud.faults.lose_answer("queue.send")
    await two.lose("order-1", 2)
    async with two.working():
        await two.spot.answer("order-1", nth=2)
        await two.emptied()
    assert len(two.demand_runtime.runs + two.spot.runtime.runs) == 1
    assert {one.status for one in two.spot.told("order-1")} == {"completed"}


async def test_what_was_done_before_is_told_and_not_sent() -> None:
    two = TwoQueues()
    async with two.spot.working(two.spot.agent()):
        await two.spot.publish("order-1")
        await two.spot.settled("order-1")
    await two.lose("order-1", 2)
    async with two.working():
        again = await two.spot.answer("order-1", nth=2)
        await two.emptied()
    assert again.redelivered
    assert two.demand_runtime.runs == []


async def test_without_the_other_queue_the_third_attempt_is_the_last_on_spot() -> None:
    two = TwoQueues()
    two.spot.on_demand = None
    await two.lose("order-1", 2)
    async with two.working():
        answer = await two.spot.answer("order-1")
        await two.emptied()
    assert answer.attempt == 3
    assert two.spot.runtime.runs == ["order-1"]
