"""Jobs published more than once, and several agents: one generation, and nobody waits for ever."""

import json
import math
from typing import Any

import pytest

from queue_agent.wire.errors import Unanswered, Unavailable
from queue_agent.wire.job import parse_job
from queue_agent.wire.layout import ResultKeys
from worker_bench import EPOCH, Bench, ScriptedRuntime, drawing, failing

pytestmark = pytest.mark.looptime

OUTAGE = Unavailable("the cloud does not answer", type="cloud_unavailable")
JOBS = [f"order-{n}" for n in range(8)]


def claim_of(bench: Bench, job_id: str) -> str:
    return ResultKeys.of(parse_job(bench.body(job_id))).claim


def put_claim(bench: Bench, job_id: str, *, until: float, message: str = "another") -> None:
    claim = json.dumps({"message": message, "until": EPOCH + until})
    bench.results.put(claim_of(bench, job_id), claim.encode())


def claims(bench: Bench) -> list[str]:
    return [key for key in bench.results.objects if key.endswith(".claim")]


async def two_agents(bench: Bench, *published: str, gap: float = 0.0) -> list[ScriptedRuntime]:
    """Two idle agents with a GPU each work off what is published; both their runtimes."""
    runtimes = [bench.runtime, ScriptedRuntime()]
    for job_id in published:
        for runtime in runtimes:
            runtime.script(job_id, *bench.runtime._behaviours.get(job_id, [drawing()]))
    async with bench.working(*(bench.agent(runtime) for runtime in runtimes)):
        await bench.pass_time(1)
        for job_id in published:
            await bench.publish(job_id)
            await bench.pass_time(gap)
        await bench.emptied()
    return runtimes


@pytest.mark.parametrize("gap", [0.0, 0.01, 3.0])
@pytest.mark.parametrize("order", ["side by side", "all, then all again"])
async def test_jobs_published_twice_are_generated_once_by_two_idle_agents(
    bench: Bench, order: str, gap: float
) -> None:
    doubled = [job for job in JOBS for _ in "ab"] if order == "side by side" else JOBS + JOBS
    first, second = await two_agents(bench, *doubled, gap=gap)
    assert sorted(first.runs + second.runs) == JOBS
    assert min(len(first.runs), len(second.runs)) > 0, "both agents are of use"
    for job_id in JOBS:
        assert sorted(one.redelivered for one in bench.told(job_id)) == [False, True]
        assert {one.status for one in bench.told(job_id)} == {"completed"}
    assert bench.dead_letters == []
    assert claims(bench) == []


async def test_three_copies_outlast_a_job_longer_than_lease_and_hold_limit(bench: Bench) -> None:
    bench.runtime.script("order-1", drawing(600.0))
    first, second = await two_agents(bench, *["order-1"] * 3)
    assert first.runs + second.runs == ["order-1"]
    assert [one.attempt for one in bench.told("order-1")] == [1, 1, 1]


async def test_who_waits_for_anothers_work_goes_on_with_other_jobs(bench: Bench) -> None:
    bench.policy = {"prefetch": 0}
    bench.runtime.script("long", drawing(100.0))
    await two_agents(bench, "long", "long", "order-1", "order-2")
    answered = [one.id for one in bench.told()]
    assert sorted(answered[:2]) == ["order-1", "order-2"]
    assert answered[2:] == ["long", "long"]


async def test_who_claims_as_the_other_ends_finds_its_result(bench: Bench) -> None:
    bench.policy = {"max_jobs": 1}
    put_claim(bench, "order-1", until=1e9)
    second = ScriptedRuntime()
    await bench.publish("order-1")
    async with bench.working(bench.agent(second)):
        await bench.pass_time(1)
        hold = bench.cloud.faults.hold("bucket.write", matching=".claim")
        await hold.reached.wait()
        await bench.pass_time(0)  # its look for the result has found none
        await bench.results.delete(claim_of(bench, "order-1"))
        await bench.publish("order-1")
        async with bench.working(bench.agent()):
            await bench.answer("order-1")
            await bench.pass_time(1)
        hold.release()
        await bench.emptied()
    assert (bench.runtime.runs, second.runs) == (["order-1"], [])


async def test_the_claim_of_an_agent_that_died_lapses(bench: Bench) -> None:
    put_claim(bench, "order-1", until=20.0)
    await bench.publish("order-1")
    async with bench.working():
        await bench.pass_time(19)
        assert bench.runtime.runs == []
        await bench.pass_time(4)
        assert bench.runtime.runs == ["order-1"]
        await bench.settled("order-1")
    assert bench.runtime.runs == ["order-1"]
    assert bench.told("order-1")[0].attempt == 1


async def test_a_claim_that_was_left_behind_long_ago_holds_nobody_up(bench: Bench) -> None:
    put_claim(bench, "order-1", until=-1.0)
    await bench.publish("order-1")
    async with bench.working():
        await bench.pass_time(1)
        assert bench.runtime.runs == ["order-1"]
        await bench.settled("order-1")


async def test_a_claim_from_a_clock_that_goes_wrong_holds_for_a_lease_and_no_longer(
    bench: Bench,
) -> None:
    put_claim(bench, "order-1", until=1e9)
    await bench.publish("order-1")
    async with bench.working():
        await bench.pass_time(bench.visibility + 5)
        assert bench.runtime.runs == ["order-1"]
        await bench.settled("order-1")


@pytest.mark.parametrize(
    "claim", [b"", b"[]", b"null", b'{"message": "x"}', b"\xff", b"[" * 999, b" " * 2000]
)
async def test_a_claim_that_cannot_be_read_holds_nobody_up(bench: Bench, claim: bytes) -> None:
    bench.results.put(claim_of(bench, "order-1"), claim)
    await bench.publish("order-1")
    async with bench.working():
        assert (await bench.settled("order-1")).status == "completed"
    assert bench.runtime.runs == ["order-1"]


async def test_the_same_message_coming_again_does_not_wait_for_its_own_claim(bench: Bench) -> None:
    """As where its agent was killed."""
    bench.runtime.script("order-1", drawing(3.0))
    heir = ScriptedRuntime()
    bench.policy = {"max_jobs": 1}
    dying = bench.agent()
    await bench.publish("order-1")
    bench.cloud.faults.fail("queue.extend", OUTAGE, times=math.inf)
    hold = bench.cloud.faults.hold("bucket.write", matching=".png")
    async with bench.working(dying):
        await hold.reached.wait()
        async with bench.working(bench.agent(heir)):
            await bench.pass_time(bench.visibility + 1)
            assert heir.runs == ["order-1"]
            bench.cloud.faults.clear()
            hold.release()
            await bench.emptied()


async def test_work_given_back_leaves_the_job_to_its_other_message(bench: Bench) -> None:
    bench.policy = {"retry_delay": 300.0}
    bench.runtime.script("order-1", failing(), drawing())
    other = ScriptedRuntime()
    other.script("order-1", drawing())
    async with bench.working(bench.agent(), bench.agent(other)):
        await bench.publish("order-1")
        await bench.publish("order-1")
        await bench.answer("order-1")
        assert bench.cloud.clock.now() - EPOCH < 60
        await bench.emptied()


@pytest.mark.parametrize("answer_lost", [False, True])
@pytest.mark.parametrize("operation", ["bucket.write", "bucket.delete", "bucket.read"])
async def test_claims_that_cannot_be_made_read_or_removed_cost_no_job(
    bench: Bench, operation: str, answer_lost: bool
) -> None:
    order = bench.cloud.faults.lose_answer if answer_lost else bench.cloud.faults.fail
    error = Unanswered("cut off") if answer_lost else OUTAGE
    order(operation, error, times=math.inf, matching=".claim")  # type: ignore[arg-type]
    await two_agents(bench, *JOBS, *JOBS)
    for job_id in JOBS:
        assert {one.status for one in bench.told(job_id)} == {"completed"}
        assert len({tuple(one.image_url) for one in bench.told(job_id)}) == 1
    assert bench.dead_letters == []


async def test_a_store_that_ignores_conditions_of_claims_holds_nobody_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = bench.results.write

    async def ignoring(key: str, data: bytes, *, create_only: bool = False, **more: Any) -> None:
        create_only = create_only and not key.endswith(".claim")
        await write(key, data, create_only=create_only, **more)

    monkeypatch.setattr(bench.results, "write", ignoring)
    await two_agents(bench, *JOBS, *JOBS)
    assert {job_id: len(bench.told(job_id)) for job_id in JOBS} == dict.fromkeys(JOBS, 2)


async def test_a_claim_is_made_beside_the_look_for_the_result(bench: Bench) -> None:
    hold = bench.cloud.faults.hold("bucket.write", matching=".claim")
    await bench.publish("order-1")
    async with bench.working():
        await hold.reached.wait()
        await bench.pass_time(0)
        looks = [call.subject for call in bench.cloud.calls if call.operation == "bucket.read"]
        assert len([key for key in looks if key.startswith("out/")]) == 1
        hold.release()
        await bench.settled("order-1")


async def test_jobs_that_take_no_time_are_not_claimed(bench: Bench) -> None:
    for job_id in JOBS:
        bench.runtime.script(job_id, drawing(0.05))
    async with bench.working():
        for job_id in JOBS:
            await bench.publish(job_id)
            await bench.answer(job_id)
        await bench.emptied()
    written = [call for call in bench.cloud.calls if call.operation == "bucket.write"]
    assert sum(call.subject.endswith(".claim") for call in written) == 1, "the first is not known"


async def test_a_drained_agent_gives_back_what_waits_for_another(bench: Bench) -> None:
    put_claim(bench, "order-1", until=1000.0)
    await bench.publish("order-1")
    async with bench.working():
        await bench.pass_time(5)
    assert bench.cloud.clock.now() - EPOCH < 7
    assert len(bench.queue.bodies) == 1
