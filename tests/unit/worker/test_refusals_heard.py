"""A cloud that refuses for minutes is in the log and in readiness, whichever call it is."""

import asyncio
import math
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from queue_agent.cloud.memory import Operation
from queue_agent.wire.errors import ObjectNotFound, Unavailable
from queue_agent.worker.agent import Agent
from worker_bench import RUN, Bench, drawing

pytestmark = pytest.mark.looptime

FORBIDDEN = Unavailable(
    "Access Denied (AccessDenied)",
    type="cloud_unauthorized",
    remedy="Give the role the right sns:Publish.",
)
Line = MutableMapping[str, Any]


@pytest.fixture
async def agent(bench: Bench) -> Agent:
    return bench.agent()


@asynccontextmanager
async def working(bench: Bench, agent: Agent) -> AsyncIterator[list[Line]]:
    """The agent at work; what it logs."""
    with capture_logs() as lines:
        async with bench.working(agent):
            yield lines


def named(event: str, lines: list[Line]) -> list[Line]:
    return [line for line in lines if line["event"] == event]


FINISHING: list[tuple[Operation, str]] = [
    ("topic.publish", "topic"),
    ("bucket.write", "bucket"),
    ("bucket.read", "bucket"),
]


@pytest.mark.parametrize(("operation", "service"), FINISHING)
async def test_a_refusal_of_forty_seconds_is_said_with_its_remedy_and_makes_the_agent_not_ready(
    bench: Bench, agent: Agent, operation: Operation, service: str
) -> None:
    await bench.publish("order-1")
    bench.cloud.faults.fail(operation, FORBIDDEN, times=math.inf)
    async with working(bench, agent) as lines:
        await bench.pass_time(RUN + 1)
        (first,) = named("cloud refuses", lines)
        assert first["log_level"] == "warning"
        assert (first["service"], first["error"]) == (service, "cloud_unauthorized")
        assert (first["reason"], first["remedy"]) == (FORBIDDEN.message, FORBIDDEN.remedy)
        assert (await agent.readiness())[service] is None
        await bench.pass_time(40)
        assert (await agent.readiness())[service] == FORBIDDEN.message
        bench.cloud.faults.clear()
        assert (await bench.settled("order-1")).status == "completed"
        assert set((await agent.readiness()).values()) == {None}
    (again,) = named("cloud answers again", lines)
    assert again["service"] == service
    assert again["refused"] > 5
    assert again["seconds"] > 30


async def test_a_refusal_that_goes_on_is_said_every_five_minutes_with_their_number(
    bench: Bench, agent: Agent
) -> None:
    for number in range(5):
        await bench.publish(f"order-{number}")
    bench.cloud.faults.fail("topic.publish", FORBIDDEN, times=math.inf)
    async with working(bench, agent) as lines:
        await bench.pass_time(5 * RUN + 610)
        said = named("cloud refuses", lines)
        assert len(said) == 3
        assert said[0]["refused"] == 1
        assert all(line["refused"] > 1 for line in said[1:])
        bench.cloud.faults.clear()
        await bench.emptied()


@pytest.mark.parametrize("operation", ["queue.extend", "queue.delete"])
async def test_a_queue_that_only_delivers_is_not_ready(
    bench: Bench, agent: Agent, operation: Operation
) -> None:
    bench.runtime.script("order-1", drawing(60))
    bench.cloud.faults.fail(operation, FORBIDDEN, times=math.inf)
    async with working(bench, agent) as lines:
        await bench.publish("order-1")
        while (await agent.readiness())["queue"] != FORBIDDEN.message:
            await bench.pass_time(1)
        assert named("cloud refuses", lines)
        bench.cloud.faults.clear()
        await bench.emptied()


async def test_a_single_refusal_is_said_and_nothing_more(bench: Bench, agent: Agent) -> None:
    await bench.publish("order-1")
    bench.cloud.faults.fail("topic.publish", FORBIDDEN)
    async with working(bench, agent) as lines:
        await bench.settled("order-1")
        await bench.pass_time(60)
        assert (await agent.readiness())["topic"] is None
    assert len(named("cloud refuses", lines)) == 1
    assert len(named("cloud answers again", lines)) == 1


async def test_what_is_dispensable_is_said_and_the_agent_stays_ready(
    bench: Bench, agent: Agent
) -> None:
    bench.cloud.faults.fail("bucket.keys", FORBIDDEN, times=math.inf)
    bench.runtime.script("order-1", drawing(200))
    async with working(bench, agent) as lines:
        await bench.publish("order-1")
        await bench.pass_time(190)
        assert (await agent.readiness())["bucket"] is None
    assert named("cloud refuses", lines)


async def test_answers_that_are_not_hoped_for_are_no_refusals(bench: Bench, agent: Agent) -> None:
    async with working(bench, agent) as lines:
        await bench.publish("order-1")
        await bench.settled("order-1")  # it had no result, and no cancel marker
        await bench.publish("order-1")
        await bench.answer("order-1", nth=2)
    assert not named("cloud refuses", lines)


async def test_a_refusal_that_nobody_met_again_is_forgotten(bench: Bench, agent: Agent) -> None:
    bench.policy.update(store_patience=60)
    agent = bench.agent()
    await bench.publish("order-1")
    bench.cloud.faults.fail("topic.publish", FORBIDDEN, times=math.inf)
    async with working(bench, agent):
        while not bench.dead_letters:
            await bench.pass_time(1)
        assert (await agent.readiness())["topic"] == FORBIDDEN.message
        await bench.pass_time(300)
        assert (await agent.readiness())["topic"] is None


async def test_a_port_that_fails_in_an_unknown_way_ends_no_agent(bench: Bench) -> None:
    await bench.publish("order-1")
    bench.cloud.faults.fail("topic.publish", ObjectNotFound("no such topic"), times=2)
    async with bench.working():
        assert (await bench.settled("order-1")).status == "completed"


async def test_a_call_that_is_given_up_is_neither_refused_nor_answered(
    bench: Bench, agent: Agent
) -> None:
    held = bench.cloud.faults.hold("bucket.write")
    async with working(bench, agent) as lines:
        await bench.publish("order-1")
        await held.reached.wait()
        await asyncio.sleep(100)
    assert not named("cloud refuses", lines)
