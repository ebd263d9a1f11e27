"""What agents learn of their runs, and how publishers come to know it."""

import asyncio
import math
import random

import pytest
from structlog.testing import capture_logs

from queue_agent.cloud.memory import MemoryCloud
from queue_agent.estimates.exchange import add_seen, read_seen
from queue_agent.estimates.fit import estimate_run
from queue_agent.estimates.runs import SeenAgent, SeenRun, SeenRuns
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.job import Job
from queue_agent.wire.layout import seen_runs_folder
from queue_agent.wire.work import Work, work_of
from queue_agent.worker.agent import Agent
from queue_agent.worker.learning import RunLearning
from worker_bench import NAME, Bench, LoopClock, ScriptedRuntime, drawing

pytestmark = pytest.mark.looptime

CONTENT = {"prompt": "a", "steps": 20, "model": "sdxl"}


def learning(bench: Bench, runtime: ScriptedRuntime | None = None, name: str = "a") -> RunLearning:
    return RunLearning(
        bench.results, NAME, name, runtime or bench.runtime, price=1.8, now=bench.cloud.now
    )


def agent(bench: Bench, learner: RunLearning, runtime: ScriptedRuntime | None = None) -> Agent:
    made = bench.agent(runtime)
    object.__setattr__(made.processor, "ran", learner.ran)
    return made


async def test_what_an_agent_ran_is_in_the_bucket_within_a_minute(bench: Bench) -> None:
    learner = learning(bench)
    made = agent(bench, learner)
    bench.runtime.usually = drawing(4)
    for number in range(5):
        await bench.publish(f"job-{number}", CONTENT)
    async with learner.keeping(made.health.started), bench.working(made):
        await bench.pass_time(90)
        seen = await read_seen(bench.results, NAME)
    asked = Job.model_validate(
        {"metadata": {"id": "b", "tasktype": "text-to-image"}, "content": CONTENT}
    )
    told = estimate_run(seen, work_of(asked), usual=99)
    assert told.basis == "model"
    assert told.run.expected == pytest.approx(4, rel=0.05)
    assert told.price == 1.8


async def test_that_an_agent_is_there_is_told_and_that_it_goes(bench: Bench) -> None:
    runtime = ScriptedRuntime(concurrency=3)
    learner = learning(bench, runtime)
    made = agent(bench, learner, runtime)
    async with learner.keeping(made.health.started), bench.working(made):
        await bench.pass_time(5)
        seen = await read_seen(bench.results, NAME)
        assert seen.places(bench.cloud.now()) == 3
        await bench.pass_time(1000)
        seen = await read_seen(bench.results, NAME)
        assert seen.places(bench.cloud.now()) == 3
    assert not (await read_seen(bench.results, NAME)).places(bench.cloud.now())


async def test_an_agent_that_was_killed_counts_no_more_after_a_while(bench: Bench) -> None:
    await add_seen(
        bench.results, NAME, lambda seen: seen.seen_by("a", SeenAgent(at=bench.cloud.now()))
    )
    await bench.pass_time(400)
    assert (await read_seen(bench.results, NAME)).places(bench.cloud.now()) == 0


async def test_an_agent_that_ends_after_one_job_leaves_what_it_learned(bench: Bench) -> None:
    learner = learning(bench)
    made = agent(bench, learner)
    await bench.publish("a", CONTENT)
    async with learner.keeping(made.health.started), bench.working(made):
        await bench.settled("a")
    seen = await read_seen(bench.results, NAME)
    assert [(kind.kind, kind.model, len(kind.runs)) for kind in seen.kinds] == [
        ("text-to-image", "sdxl", 1)
    ]


async def test_failed_jobs_teach_nothing(bench: Bench) -> None:
    learner = learning(bench)
    made = agent(bench, learner)
    await bench.publish("a", {**CONTENT, "refused": True})
    async with learner.keeping(made.health.started), bench.working(made):
        await bench.settled("a")
    assert (await read_seen(bench.results, NAME)).kinds == ()


async def test_of_agents_that_write_at_once_nothing_is_lost() -> None:
    cloud = MemoryCloud(LoopClock())
    bucket = cloud.bucket("images")
    chance = random.Random(1)  # noqa: S311

    async def write(number: int) -> None:
        await asyncio.sleep(chance.random() / 10)
        run = SeenRun(at=number, seconds=1 + number, gpu_seconds=1)
        one = SeenRuns.of(Work("text-to-image", f"model-{number}"), run)
        for _ in range(20):
            try:
                await add_seen(bucket, NAME, one.merged)
            except Unavailable:
                await asyncio.sleep(chance.random())
            else:
                return
        raise AssertionError("never written")

    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(write(number))
    seen = await read_seen(bucket, NAME)
    assert {kind.model for kind in seen.kinds} == {f"model-{number}" for number in range(20)}
    assert len(await bucket.keys(seen_runs_folder(NAME))) <= 2


async def test_a_file_that_nobody_can_read_is_replaced(bench: Bench) -> None:
    await add_seen(bench.results, NAME, lambda seen: seen.seen_by("a", SeenAgent(at=1)))
    (key,) = await bench.results.keys(seen_runs_folder(NAME))
    bench.results.put(key, b"[]")
    assert await read_seen(bench.results, NAME) == SeenRuns()
    await add_seen(bench.results, NAME, lambda seen: seen.seen_by("b", SeenAgent(at=2)))
    assert set((await read_seen(bench.results, NAME)).agents) == {"b"}


async def test_a_bucket_that_refuses_holds_up_no_job_and_is_told_of_once(bench: Bench) -> None:
    learner = learning(bench)
    made = agent(bench, learner)
    bench.cloud.faults.fail(
        "bucket.keys",
        Unavailable("AccessDenied"),
        times=math.inf,
        matching=seen_runs_folder(NAME),
    )
    with capture_logs() as logs:
        async with learner.keeping(made.health.started), bench.working(made):
            await bench.publish("a", CONTENT)
            assert (await bench.settled("a")).status == "completed"
            await bench.pass_time(200)
            assert made.health.broken.is_set() is False
            assert (await made.readiness())["bucket"] is None
    assert len([one for one in logs if one["event"] == "not told what jobs took"]) == 1
