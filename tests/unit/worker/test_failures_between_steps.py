"""Every order of failures between two steps: nothing lost, one result, doubles marked.

Each call that a job's way makes of the cloud fails before it is done, or is done and its answer
is lost; for a moment, which is sat out in place, or for so long that the message is given back.
"""

import math

import pytest

from queue_agent.cloud.memory import Operation
from queue_agent.wire.errors import Unanswered, Unavailable
from worker_bench import Bench, ScriptedRuntime, drawing, failing

pytestmark = pytest.mark.looptime

MOMENT, LONG = 2, math.inf
OUTAGE = Unavailable("the cloud does not answer", type="cloud_unavailable")
LOST = Unanswered("the connection broke")
PATIENCE = 30.0
CALLS: list[tuple[Operation, str]] = [
    ("bucket.read", ".out"),
    ("bucket.keys", "cancelled/"),
    ("bucket.write", ".png"),
    ("bucket.write", ".out"),
    ("topic.publish", "completed"),
    ("queue.delete", ""),
    ("queue.extend", ""),
]


@pytest.mark.parametrize("times", [MOMENT, LONG], ids=["for a moment", "for long"])
@pytest.mark.parametrize("answer_lost", [False, True], ids=["not done", "answer lost"])
@pytest.mark.parametrize(("operation", "matching"), CALLS)
async def test_a_cloud_that_fails_at_one_step_costs_no_job(
    operation: Operation, matching: str, answer_lost: bool, times: float
) -> None:
    bench = Bench(max_receives=20, policy={"store_patience": PATIENCE})
    order = bench.cloud.faults.lose_answer if answer_lost else bench.cloud.faults.fail
    order(operation, LOST if answer_lost else OUTAGE, times=times, matching=matching)
    await bench.publish("order-1")
    async with bench.working():
        await bench.pass_time(3 * PATIENCE)
        bench.cloud.faults.clear()
        await bench.settled("order-1")
    (manifest,) = bench.manifests()
    told = bench.told()
    assert manifest.status == "completed"
    assert {one.status for one in told} == {"completed"}
    assert {tuple(one.image_url) for one in told} == {tuple(manifest.image_url)}
    assert {url.removeprefix(bench.results.url("")) for url in told[0].image_url} <= {*bench.keys()}
    assert bench.dead_letters == []
    if times == MOMENT:
        assert bench.runtime.runs == ["order-1"], "a moment is sat out in place"


@pytest.mark.parametrize("answer_lost", [False, True], ids=["not done", "answer lost"])
async def test_a_manifest_that_was_written_is_never_made_twice(answer_lost: bool) -> None:
    bench = Bench(policy={"store_patience": PATIENCE})
    order = bench.cloud.faults.lose_answer if answer_lost else bench.cloud.faults.fail
    order("topic.publish", LOST if answer_lost else OUTAGE, times=math.inf, matching="completed")
    await bench.publish("order-1")
    async with bench.working():
        await bench.pass_time(2 * PATIENCE)
        bench.cloud.faults.clear()
        await bench.emptied()
    assert bench.runtime.runs == ["order-1"]
    assert bench.told()[-1].redelivered


async def test_a_lost_answer_of_the_commit_is_no_other_attempts_win(bench: Bench) -> None:
    bench.cloud.faults.lose_answer("bucket.write", OUTAGE, matching=".out")
    await bench.publish("order-1")
    async with bench.working():
        assert not (await bench.settled("order-1")).redelivered


async def test_a_lost_answer_of_an_artifact_leaves_its_name_to_whoever_took_it(
    bench: Bench,
) -> None:
    bench.cloud.faults.lose_answer("bucket.write", OUTAGE, matching=".png")
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    named = [key for key in bench.keys("out/order-1/") if key.endswith("-1.png")]
    assert len(named) == 1
    assert told.image_url != [bench.results.url(key) for key in named]


async def test_a_failure_that_cannot_be_stored_is_told_all_the_same() -> None:
    bench = Bench(policy={"store_patience": 5.0})
    bench.runtime.script("order-1", failing())
    bench.cloud.faults.fail("bucket.write", OUTAGE, times=math.inf, matching=".out")
    await bench.publish("order-1")
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, told.output_url) == ("failed", None)
    assert len(bench.dead_letters) == 1


async def test_what_cannot_be_quarantined_now_comes_again() -> None:
    bench = Bench(policy={"store_patience": 5.0})
    bench.cloud.faults.fail("bucket.write", OUTAGE, times=8, matching="quarantine/")
    await bench.queue.send("no JSON", {})
    async with bench.working():
        told = await bench.settled()
    assert (told.status, len(bench.keys("quarantine/"))) == ("failed", 1)


async def test_another_pod_that_was_faster_is_told_of_as_it_is(bench: Bench) -> None:
    """A lease that was lost: both work, one manifest wins, and both tell of that."""
    second = ScriptedRuntime()
    for runtime in (bench.runtime, second):
        runtime.script("order-1", drawing(100.0))
    bench.cloud.faults.fail("queue.extend", OUTAGE, times=math.inf)
    await bench.publish("order-1")
    async with bench.working(bench.agent(), bench.agent(second)):
        await bench.answer("order-1", nth=2)
        bench.cloud.faults.clear()
        await bench.emptied()
    (manifest,) = bench.manifests()
    assert {tuple(one.image_url) for one in bench.told()} == {tuple(manifest.image_url)}
    assert [one.redelivered for one in bench.told()].count(False) == 1
