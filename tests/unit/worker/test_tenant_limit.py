"""What a tenant may have at an agent: never to the harm of others, and no place stays empty."""

from collections import Counter

import pytest

from queue_agent.cloud import Ordering
from queue_agent.runtime import Output, Prepared, ProgressCallback
from worker_bench import Bench, ScriptedRuntime, drawing

pytestmark = pytest.mark.looptime


def at_work(bench: Bench, tenants: dict[str, str]) -> list[Counter[str]]:
    """Of whom so many runs were under way, each time that one began; filled as they come."""
    seen: list[Counter[str]] = []
    under_way: Counter[str] = Counter()
    draw = drawing(10)

    async def behave(prepared: Prepared, report: ProgressCallback) -> Output:
        tenant = tenants[prepared.job.id]
        under_way[tenant] += 1
        seen.append(Counter(under_way))
        try:
            return await draw(prepared, report)
        finally:
            under_way[tenant] -= 1

    bench.runtime.usually = behave
    return seen


def two_places(
    *, limit: int | None = 1, strict: bool = False, receives: int = 3, look_ahead: int = 1
) -> Bench:
    held = {"prefetch": 8, "look_ahead": look_ahead}
    return Bench(
        runtime=ScriptedRuntime(concurrency=2),
        max_receives=receives,
        policy={"tenant_in_flight": limit, "tenant_strict": strict, **held},
    )


async def order_of_runs(bench: Bench, jobs: dict[str, str]) -> list[Counter[str]]:
    """Have all jobs done, that lie in the queue together after one that teaches what runs take."""
    seen = at_work(bench, {"warm": "", **jobs})
    async with bench.working():
        await bench.publish("warm")
        await bench.settled("warm")
        for job_id, tenant in jobs.items():
            await bench.publish(job_id, tenant=tenant)
        for job_id in jobs:
            assert (await bench.answer(job_id)).status == "completed"
        await bench.emptied()
    return seen[1:]


THEIRS = {f"theirs-{number}": "noisy" for number in range(4)}
OURS = {f"ours-{number}": "quiet" for number in range(2)}


async def test_while_another_tenant_waits_here_the_limit_holds() -> None:
    bench = two_places(look_ahead=8)
    seen = await order_of_runs(bench, {**THEIRS, **OURS})
    assert max(counts["noisy"] for counts in seen[2:]) == 1
    plain = two_places(limit=None, look_ahead=8)
    seen = await order_of_runs(plain, {**THEIRS, **OURS})
    assert max(counts["noisy"] for counts in seen[2:]) == 2
    assert plain.runtime.runs[1:] == [*THEIRS, *OURS]


async def test_with_nobody_else_there_a_tenant_has_all_places() -> None:
    seen = await order_of_runs(two_places(), THEIRS)
    assert max(counts["noisy"] for counts in seen) == 2


@pytest.mark.parametrize("receives", [1, 3])
async def test_strictly_the_limit_holds_always_and_every_job_is_done(receives: int) -> None:
    bench = two_places(strict=True, receives=receives)
    seen = await order_of_runs(bench, {**THEIRS, **OURS})
    assert max(counts["noisy"] for counts in seen) == 1
    assert bench.dead_letters == []
    assert {answer.attempt for answer in bench.told()} == {1}


async def test_strictly_the_others_do_not_wait_behind_a_tenants_backlog() -> None:
    bench = two_places(strict=True)
    jobs = {f"theirs-{number}": "noisy" for number in range(60)} | {"ours": "quiet"}
    at_work(bench, {"warm": "", **jobs})
    async with bench.working():
        await bench.publish("warm")
        await bench.settled("warm")
        for job_id, tenant in jobs.items():
            await bench.publish(job_id, tenant=tenant)
        began = bench.cloud.now()
        await bench.answer("ours")
        assert bench.cloud.now() - began < 30


async def test_strictly_what_waits_comes_back_about_as_fast_as_jobs_end() -> None:
    bench = two_places(strict=True)
    await order_of_runs(bench, {f"theirs-{number}": "noisy" for number in range(30)})
    assert bench.operations()["queue.send"] < 4 * 30


async def test_jobs_of_nobody_have_no_limit() -> None:
    bench = two_places(strict=True)
    seen = at_work(bench, dict.fromkeys(["a", "b"], ""))
    async with bench.working():
        for job_id in "ab":
            await bench.publish(job_id)
        for job_id in "ab":
            await bench.answer(job_id)
    assert seen[-1][""] == 2


async def test_strictly_groups_in_order_keep_it() -> None:
    bench = Bench(
        fifo=True,
        runtime=ScriptedRuntime(concurrency=2),
        policy={"tenant_in_flight": 1, "tenant_strict": True, "prefetch": 8},
    )
    async with bench.working():
        for number in range(4):
            await bench.queue.send(
                bench.body(f"job-{number}", tenant="noisy"), {}, Ordering("g", str(number))
            )
        for number in range(4):
            assert (await bench.answer(f"job-{number}")).attempt == 1
    assert bench.runtime.runs == [f"job-{number}" for number in range(4)]
