"""From when a run's time limit counts."""

import asyncio
from typing import ClassVar

import pytest

from queue_agent.runtime import Output, Prepared, Progress, ProgressCallback
from queue_agent.worker.runner import OTHERS_FIRST
from worker_bench import Behaviour, Bench, ScriptedRuntime, drawing

pytestmark = pytest.mark.looptime


class SharedRuntime(ScriptedRuntime):
    """One that others use too, and that says when it begins with a job."""

    tells_of_the_start: ClassVar[bool] = True


def waiting(seconds: float, *, run: float) -> Behaviour:
    """A picture after others' work for so long and a run of so long."""

    async def behave(prepared: Prepared, report: ProgressCallback) -> Output:
        await asyncio.sleep(seconds)
        report(Progress(0.0))
        return await drawing(run)(prepared, report)

    return behave


def bench(**policy: float) -> Bench:
    return Bench(runtime=SharedRuntime(), policy={"run_timeout": 20.0, **policy})


async def test_time_does_not_run_while_the_runtime_works_for_others() -> None:
    shared = bench()
    shared.runtime.script("a", waiting(100.0, run=15.0))
    async with shared.working():
        await shared.publish("a")
        answer = await shared.settled("a")
    assert answer.status == "completed"
    assert (answer.attempt, answer.timings.run) == (1, 15.0)
    assert answer.timings.wait == pytest.approx(100.0, abs=1.0)


async def test_time_runs_from_the_start_of_the_work() -> None:
    shared = bench()
    shared.runtime.script("a", waiting(100.0, run=25.0))
    async with shared.working():
        await shared.publish("a")
        answer = await shared.settled("a")
    assert answer.error is not None
    assert answer.error.type == "timeout"
    assert "within 20 s" in answer.error.message


async def test_a_runtime_that_works_for_others_for_ever_is_left() -> None:
    shared = bench()
    shared.runtime.script("a", waiting(2 * OTHERS_FIRST, run=1.0), drawing(1.0))
    async with shared.working():
        await shared.publish("a")
        answer = await shared.settled("a")
    assert (answer.status, answer.attempt) == ("completed", 2)


async def test_where_the_runtime_does_not_tell_its_start_time_runs_at_once() -> None:
    plain = Bench(policy={"run_timeout": 20.0})
    plain.runtime.script("a", waiting(100.0, run=15.0), drawing(1.0))
    async with plain.working():
        await plain.publish("a")
        answer = await plain.settled("a")
    assert (answer.status, answer.attempt) == ("completed", 2)
