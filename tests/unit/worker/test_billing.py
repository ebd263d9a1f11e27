"""What a job has used of the GPU, and what that costs, as its result and notification tell."""

import asyncio
import json
import random
from itertools import pairwise

import pytest

from queue_agent.wire.estimate import JobEstimate
from queue_agent.wire.notification import Notification
from worker_bench import EPOCH, RUN, Bench, ScriptedRuntime, drawing, failing

pytestmark = pytest.mark.looptime

HOUR = 3600
ESTIMATE = {
    "at": "2026-01-01T00:00:00Z",
    "run": {"expected": 9, "low": 8, "high": 12},
    "gpu_seconds": {"expected": 9, "low": 8, "high": 12},
    "basis": "model",
}


async def test_a_result_and_its_notification_bill_the_run_at_the_operators_price() -> None:
    bench = Bench(policy={"gpu_price": 1.8})
    await bench.publish("a", {"prompt": "a", "model": "sdxl"})
    async with bench.working():
        told = await bench.settled("a")
    (manifest,) = bench.manifests()
    for one in (told, manifest):
        assert one.gpu_seconds == pytest.approx(RUN, abs=0.01)
        assert one.cost == pytest.approx(RUN * 1.8 / HOUR, rel=0.01)
    assert manifest.model == "sdxl"
    assert manifest.ended_at is not None
    assert EPOCH + RUN <= manifest.ended_at.timestamp() < EPOCH + 2 * RUN


async def test_without_a_price_the_seconds_are_told_and_no_cost() -> None:
    bench = Bench()
    await bench.publish("a")
    async with bench.working():
        told = await bench.settled("a")
    assert told.gpu_seconds == pytest.approx(RUN, abs=0.01)
    assert "cost" not in json.loads(told.to_json())


async def test_a_job_that_never_ran_is_billed_nothing() -> None:
    bench = Bench(policy={"gpu_price": 1.8})
    await bench.publish("a", {"prompt": "a", "refused": True})
    async with bench.working():
        told = await bench.settled("a")
    assert told.status == "failed"
    assert not {"gpu_seconds", "cost"} & json.loads(told.to_json()).keys()


async def test_a_run_that_failed_is_billed_beside_the_one_that_did_not() -> None:
    bench = Bench()
    bench.runtime.script("a", bench.runtime.killing(after=4, back_after=30), drawing())
    await bench.publish("a")
    async with bench.working():
        told = await bench.settled("a")
    assert told.gpu_seconds == pytest.approx(4 + RUN, abs=0.1)


async def test_a_job_that_failed_on_the_runtime_is_billed_for_its_last_delivery() -> None:
    bench = Bench(max_receives=1)
    bench.runtime.script("a", failing(after=3))
    await bench.publish("a")
    async with bench.working():
        told = await bench.answer("a")
    assert told.status == "failed"
    assert told.gpu_seconds is not None
    assert told.gpu_seconds >= 3


async def test_jobs_that_run_at_once_share_the_time_in_equal_parts() -> None:
    bench = Bench(runtime=ScriptedRuntime(concurrency=2))
    bench.runtime.script("long", drawing(12))
    bench.runtime.script("short", drawing(4))
    await bench.publish("long")
    await bench.publish("short")
    async with bench.working():
        long, short = [await bench.settled(name) for name in ("long", "short")]
    assert short.gpu_seconds == pytest.approx(4 / 2, abs=0.1)
    assert long.gpu_seconds == pytest.approx(4 / 2 + 8, abs=0.1)


@pytest.mark.parametrize("seed", range(4))
async def test_what_is_billed_adds_up_to_the_time_in_which_anything_ran(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    bench = Bench(runtime=ScriptedRuntime(concurrency=chance.randint(1, 4)))
    spans: list[tuple[float, float]] = []
    names = [f"job-{number}" for number in range(12)]

    async with bench.working():
        agent_clock = asyncio.get_running_loop().time
        for name in names:
            seconds = chance.uniform(0.5, 9)

            async def run(prepared: object, report: object, seconds: float = seconds) -> object:
                begun = agent_clock()
                output = await drawing(seconds)(prepared, report)  # type: ignore[arg-type]
                spans.append((begun, agent_clock()))
                return output

            bench.runtime.script(name, run)  # type: ignore[arg-type]
            await bench.publish(name)
            await bench.pass_time(chance.uniform(0, 4))
        told = [await bench.settled(name) for name in names]
    assert sum(one.gpu_seconds or 0 for one in told) == pytest.approx(union(spans), rel=0.01)


def union(spans: list[tuple[float, float]]) -> float:
    """Seconds in which at least one of the spans goes on."""
    moments = sorted({moment for span in spans for moment in span})
    return sum(
        late - early
        for early, late in pairwise(moments)
        if any(begun <= early and late <= ended for begun, ended in spans)
    )


async def test_an_estimate_that_came_with_the_job_is_told_with_its_end() -> None:
    bench = Bench()
    await bench.publish("a", estimate=ESTIMATE)
    async with bench.working():
        told = await bench.settled("a")
    assert told.estimate == JobEstimate.model_validate(ESTIMATE)
    assert Notification.read(told.to_json()) == told


@pytest.mark.parametrize("words", ["soon", 7, {"at": "noon"}, {**ESTIMATE, "run": {}}])
async def test_what_is_no_estimate_of_ours_stays_metadata(words: object) -> None:
    bench = Bench()
    await bench.publish("a", estimate=words)
    async with bench.working():
        told = await bench.settled("a")
    assert told.status == "completed"
    assert told.estimate is None
    assert bench.manifests()[0].metadata["estimate"] == words
