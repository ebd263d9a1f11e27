"""A runtime that is idle is kept warm, and no job waits for that."""

import asyncio
from typing import Any

import pytest

from queue_agent.cloud.pauses import change_pauses
from queue_agent.runtime import Prepared
from queue_agent.wire.errors import QueueAgentError, Rejected, RunLost, RuntimeSick, Unavailable
from queue_agent.wire.job import Job
from queue_agent.wire.pause import Pause
from worker_bench import NAME, Bench, ScriptedRuntime, drawing, failing

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

WARM_UP = Job.model_validate(
    {"metadata": {"id": "warm-up", "tasktype": "text-to-image"}, "content": {"prompt": "x"}}
)
EVERY = 600.0


def kept_warm(runtime: ScriptedRuntime | None = None, **policy: Any) -> Bench:
    return Bench(
        runtime=runtime or ScriptedRuntime(),
        policy={"warm_up": WARM_UP, "keep_warm": EVERY, **policy},
    )


def warm_ups(bench: Bench) -> int:
    return bench.runtime.runs.count("warm-up")


async def test_after_so_long_without_a_message_the_warm_up_runs_again_and_again() -> None:
    bench = kept_warm()
    async with bench.working():
        await bench.pass_time(3 * (EVERY + 11))
        assert warm_ups(bench) == 4
    assert bench.keys() == []
    assert list(bench.topic.published) == []


async def test_jobs_put_it_off() -> None:
    bench = kept_warm()
    async with bench.working():
        for number in range(8):
            await bench.publish(f"job-{number}")
            await bench.settled(f"job-{number}")
            await bench.pass_time(EVERY / 2)
    assert warm_ups(bench) == 1


async def test_without_the_setting_it_runs_once() -> None:
    bench = kept_warm(keep_warm=0.0)
    async with bench.working():
        await bench.pass_time(10 * EVERY)
    assert warm_ups(bench) == 1


async def test_a_job_that_comes_cuts_it_off_and_waits_for_nothing_else() -> None:
    bench = kept_warm()
    async with bench.working():
        await bench.pass_time(20)
        bench.runtime.script("warm-up", drawing(1000))
        await bench.pass_time(EVERY + 50)
        assert warm_ups(bench) == 2
        began = bench.cloud.now()
        await bench.publish("a")
        answer = await bench.settled("a")
        assert bench.cloud.now() - began < 12
    assert answer.status == "completed"
    assert bench.runtime.interrupted == ["warm-up"]


class Lingering(ScriptedRuntime):
    """Goes on with a warm-up that was cut off for some seconds."""

    stopped_at = 0.0

    async def still_runs(self, prepared: Prepared) -> bool | None:
        assert prepared.job.id == "warm-up"
        now = asyncio.get_running_loop().time()
        self.stopped_at = self.stopped_at or now + 5
        return now < self.stopped_at


async def test_a_job_begins_only_once_the_runtime_has_stopped() -> None:
    runtime = Lingering()
    bench = kept_warm(runtime)
    async with bench.working():
        await bench.pass_time(20)
        runtime.script("warm-up", drawing(1000))
        await bench.pass_time(EVERY)
        await bench.publish("a")
        await bench.pass_time(4)
        assert "a" not in runtime.runs
        await bench.settled("a")
    assert runtime.stopped_at > EVERY


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (Rejected("no"), False),
        (RunLost("died"), False),
        (RuntimeSick("CUDA error"), False),
        (Unavailable("busy"), True),
    ],
)
async def test_one_that_fails_for_good_is_not_tried_again_and_jobs_are_done(
    error: QueueAgentError, *, again: bool
) -> None:
    bench = kept_warm()
    async with bench.working():
        await bench.pass_time(20)
        bench.runtime.script("warm-up", failing(error))
        await bench.pass_time(5 * EVERY)
        assert (warm_ups(bench) > 2) == again
        bench.runtime.up = False
        await bench.pass_time(5)
        bench.runtime.up = True
        await bench.publish("a")
        assert (await bench.settled("a")).status == "completed"


async def test_a_paused_runtime_is_left_alone() -> None:
    bench = kept_warm()
    async with bench.working():
        await bench.pass_time(20)
        await change_pauses(bench.results, NAME, lambda before: before.with_(Pause(), 0.0))
        await bench.pass_time(5 * EVERY)
    assert warm_ups(bench) == 1
