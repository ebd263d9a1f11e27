"""What an agent believes of its runtime."""

import asyncio

import pytest

from queue_agent.runtime import Readiness
from queue_agent.wire.errors import (
    QueueAgentError,
    Rejected,
    RunLost,
    RuntimeAway,
    RuntimeSick,
    RuntimeStuck,
)
from queue_agent.worker.health import RuntimeHealth
from worker_bench import ScriptedRuntime

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


class Counting(ScriptedRuntime):
    """Counts how often it was asked."""

    asked = 0

    async def ready(self) -> bool | Readiness:
        self.asked += 1
        return await super().ready()


class Starting(ScriptedRuntime):
    """Says when it still loads its model."""

    loads = False

    async def ready(self) -> bool | Readiness:
        return Readiness("starting", "it loads") if self.loads else await super().ready()


def health_of(runtime: ScriptedRuntime) -> RuntimeHealth:
    return RuntimeHealth(runtime, asyncio.get_running_loop().time)


@pytest.mark.parametrize(
    ("error", "state"), [(RuntimeStuck("runs on"), "stuck"), (RuntimeSick("no context"), "sick")]
)
async def test_a_mark_stays_until_the_runtime_was_away(error: QueueAgentError, state: str) -> None:
    runtime = ScriptedRuntime()
    health = health_of(runtime)
    health.failed(error)
    assert await health.check() == Readiness(state, error.message)  # type: ignore[arg-type]
    runtime.up = False
    assert (await health.check()).state == "away"
    runtime.up = True
    assert await health.check()


@pytest.mark.parametrize("error", [RuntimeStuck("runs on"), RuntimeSick("no context")])
async def test_a_runtime_that_starts_is_not_the_one_that_was_broken(error: QueueAgentError) -> None:
    runtime = Starting()
    health = health_of(runtime)
    health.failed(error)
    runtime.loads = True
    assert (await health.check()).state == "starting"
    assert health.away_at == asyncio.get_running_loop().time(), "it has no run any more"
    runtime.loads = False
    assert await health.check()


async def test_a_runtime_that_starts_is_not_restarted_however_long_it_takes() -> None:
    runtime = Starting()
    health = health_of(runtime)
    runtime.loads = True
    for _ in range(3):
        assert not (await health.to_restart())[0]
        await asyncio.sleep(1000)


@pytest.mark.parametrize("error", [RuntimeAway("refused"), RunLost("broke")])
async def test_after_a_broken_connection_it_is_asked_anew(error: QueueAgentError) -> None:
    runtime = Counting()
    health = health_of(runtime)
    await health.until_ready()
    await health.until_ready()
    assert runtime.asked == 1
    health.failed(error)
    await health.until_ready()
    assert runtime.asked == 2


async def test_what_lies_in_the_job_says_nothing_of_the_runtime() -> None:
    runtime = Counting()
    health = health_of(runtime)
    await health.until_ready()
    health.failed(Rejected("no such sampler"))
    await health.until_ready()
    assert runtime.asked == 1


async def test_it_is_waited_for_as_long_as_it_takes() -> None:
    runtime = ScriptedRuntime()
    runtime.up = False
    waiting = asyncio.create_task(health_of(runtime).until_ready())
    await asyncio.sleep(600)
    assert not waiting.done()
    runtime.up = True
    await waiting
