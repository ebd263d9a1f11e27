"""Jobs that end the runtime: they are found out, and cost nobody else an answer."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from queue_agent.runtime import Assets, Output, Prepared, ProgressCallback
from queue_agent.wire.errors import RunLost, RuntimeAway, Unavailable
from queue_agent.wire.job import Job
from worker_bench import RUN, Bench, ScriptedRuntime, drawing, failing

pytestmark = pytest.mark.looptime

SEEDS = [seed if seed < 2 else pytest.param(seed, marks=pytest.mark.sweep) for seed in range(20)]
INNOCENTS = 100
SHAPES = [(1, 1), (4, 0)]
"""Concurrency and backlog."""


def planned(rng: random.Random, killers: int) -> tuple[list[str], list[str]]:
    """The ids of all jobs in the order of their publication, and those of the killers."""
    deadly = [f"killer-{number}" for number in range(killers)]
    order = [*deadly, *(f"order-{number}" for number in range(INNOCENTS))]
    rng.shuffle(order)
    return order, deadly


def arm(rng: random.Random, servers: Sequence[ScriptedRuntime], order: Sequence[str]) -> None:
    """Each server's own behaviours; each death is noticed within three seconds."""
    for server in servers:
        server.notice = lambda: rng.choice([0.0, rng.uniform(0.0, 3.0)])
        for job_id in order:
            if job_id.startswith("killer"):
                deadly = server.killing(
                    after=rng.uniform(0.0, 1.0), back_after=rng.uniform(1.0, 30.0)
                )
                server.script(job_id, deadly)
            else:
                server.script(job_id, drawing(rng.uniform(0.2, 2.0)))


@pytest.mark.parametrize("agents", [1, 2])
@pytest.mark.parametrize("seed", SEEDS)
async def test_jobs_that_kill_the_runtime_take_no_innocent_with_them(
    seed: int, agents: int
) -> None:
    rng = random.Random(seed)  # noqa: S311  no secret
    bench = Bench(max_receives=3)
    concurrency, backlog = SHAPES[(seed + agents) % len(SHAPES)]
    servers = [ScriptedRuntime(concurrency=concurrency, backlog=backlog) for _ in range(agents)]
    order, killers = planned(rng, killers=rng.randint(1, 4))
    arm(rng, servers, order)
    for job_id in order:
        await bench.publish(job_id)
    async with bench.working(*map(bench.agent, servers)):
        for job_id in order:
            await bench.answer(job_id)
        await bench.emptied()
    ended = {told.id: told.status for told in bench.told()}
    assert {job_id for job_id, status in ended.items() if status == "failed"} == {*killers}
    assert Counter(ended.values())["completed"] == INNOCENTS
    assert len(bench.dead_letters) == len(killers)


class Proxied(ScriptedRuntime):
    """Stands behind a proxy, which answers for it while it is gone."""

    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        try:
            return await super().run(prepared, progress)
        except (RuntimeAway, RunLost):
            raise Unavailable("The runtime answered 502: Bad Gateway") from None


async def test_a_proxys_word_for_a_runtime_that_is_gone_spends_no_delivery() -> None:
    bench = Bench(runtime=Proxied(concurrency=2), max_receives=3)
    bench.runtime.script("killer", bench.runtime.killing(after=1.0, back_after=15.0))
    await bench.publish("killer")
    await bench.publish("order-1")
    async with bench.working():
        assert (await bench.answer("order-1")).attempt == 1
        assert (await bench.settled("killer")).status == "failed"


@pytest.mark.parametrize("seed", SEEDS[:4])
async def test_behind_a_proxy_that_answers_for_it_the_innocent_are_spared_as_well(
    seed: int,
) -> None:
    rng = random.Random(seed)  # noqa: S311  no secret
    bench = Bench(runtime=Proxied(backlog=1), max_receives=3)
    order, killers = planned(rng, killers=2)
    arm(rng, [bench.runtime], order)
    for job_id in order:
        await bench.publish(job_id)
    async with bench.working():
        for job_id in order:
            await bench.answer(job_id)
    assert {told.id for told in bench.told() if told.status == "failed"} == {*killers}


async def test_a_runtime_that_refuses_is_waited_for_and_costs_no_delivery(bench: Bench) -> None:
    bench.runtime.script("order-1", *[failing(RuntimeAway("refused"))] * 8, drawing())
    await bench.publish("order-1")
    began = asyncio.get_running_loop().time()
    async with bench.working():
        told = await bench.settled("order-1")
    assert (told.status, told.attempt) == ("completed", 1)
    assert asyncio.get_running_loop().time() - began >= RUN + 7, "it is not pressed"


async def test_a_runtime_that_says_it_is_ready_and_always_refuses_is_no_endless_wait() -> None:
    bench = Bench(max_receives=1)
    bench.runtime.script("order-1", failing(RuntimeAway("refused")))
    await bench.publish("order-1")
    async with bench.working():
        assert (await bench.settled("order-1")).status == "failed"


async def test_nothing_is_submitted_to_a_runtime_that_is_away(bench: Bench) -> None:
    bench.runtime.script("killer", bench.runtime.killing(after=1.0, back_after=30.0), drawing())
    await bench.publish("killer")
    await bench.publish("order-1")
    async with bench.working():
        await bench.runtime.began.wait()
        await bench.pass_time(20)
        assert bench.runtime.runs == ["killer"]
        assert (await bench.settled("order-1")).attempt == 1


async def test_held_messages_keep_their_lease_while_the_runtime_is_away() -> None:
    bench = Bench(max_receives=2, policy={"hold_limit": 400.0}, visibility=10.0)
    bench.runtime.script("killer", bench.runtime.killing(after=1.0, back_after=300.0), drawing())
    bench.runtime.backlog = 1
    await bench.publish("killer")
    await bench.publish("order-1")
    async with bench.working():
        assert (await bench.answer("order-1")).attempt == 1
        await bench.emptied()


async def test_what_waits_for_a_runtime_that_stays_away_is_given_back_at_the_limit() -> None:
    bench = Bench(max_receives=4, policy={"hold_limit": 20.0})
    bench.runtime.script("order-1", failing(RuntimeAway("refused")), drawing())
    await bench.publish("order-1")
    async with bench.working():
        await bench.runtime.began.wait()
        bench.runtime.up = False
        await bench.pass_time(30)
        bench.runtime.up = True
        assert (await bench.settled("order-1")).attempt == 2


async def test_waiting_for_a_place_and_for_the_runtime_count_together() -> None:
    bench = Bench(max_receives=4, policy={"hold_limit": 20.0})
    bench.runtime.script("first", drawing(15.0))
    bench.runtime.script("order-1", failing(RuntimeAway("refused")), drawing())
    await bench.publish("first")
    await bench.publish("order-1")
    async with bench.working():
        await bench.answer("first")
        bench.runtime.up = False
        await bench.pass_time(10)
        bench.runtime.up = True
        assert (await bench.settled("order-1")).attempt == 2


async def test_a_job_with_which_the_runtime_dies_again_has_spent_its_delivery(
    bench: Bench,
) -> None:
    bench.runtime.script("killer", bench.runtime.killing(after=1.0, back_after=5.0))
    await bench.publish("killer")
    async with bench.working():
        told = await bench.settled("killer")
    assert (told.status, told.attempt) == ("failed", 3)
    assert bench.runtime.runs == ["killer"] * 4, "twice until it is known, then once a delivery"
    assert len(bench.dead_letters) == 1


async def test_a_connection_that_breaks_while_the_runtime_lives_is_tried_once_more(
    bench: Bench,
) -> None:
    bench.runtime.script("order-1", failing(RunLost("reset")), drawing())
    bench.runtime.script("order-2", *[failing(RunLost("reset"))] * 2, drawing())
    await bench.publish("order-1")
    await bench.publish("order-2")
    async with bench.working():
        assert (await bench.answer("order-1")).attempt == 1
        assert (await bench.settled("order-2")).attempt == 2


class Watched(ScriptedRuntime):
    """Knows which jobs were with it at the same time."""

    def __init__(self) -> None:
        super().__init__(concurrency=4)
        self.company: list[set[str]] = []
        self._here: set[str] = set()

    async def run(self, prepared: Prepared, progress: ProgressCallback) -> Output:
        self._here.add(prepared.job.id)
        self.company.append({*self._here})
        try:
            return await super().run(prepared, progress)
        finally:
            self._here.discard(prepared.job.id)


async def test_those_that_were_with_a_runtime_that_died_run_alone_and_after_the_others() -> None:
    bench = Bench(runtime=Watched(), max_receives=3)
    runtime = bench.runtime
    assert isinstance(runtime, Watched)
    runtime.script("killer", runtime.killing(after=1.0, back_after=5.0))
    together = [f"order-{number}" for number in range(3)]
    for job_id in ("killer", *together, "waits"):
        await bench.publish(job_id)
    async with bench.working():
        for job_id in together:
            assert (await bench.answer(job_id)).attempt == 1
        assert (await bench.settled("killer")).status == "failed"
    assert runtime.company[3] == {"killer", *together}
    assert runtime.company[4:8] == [{"waits"}, {"killer"}, *({job_id} for job_id in together[:2])]
    assert runtime.runs.count("killer") == 4, "once with the others, once in each delivery"


async def test_a_job_known_to_be_deadly_is_not_run_beside_others_again(bench: Bench) -> None:
    bench.runtime.backlog = 1
    bench.runtime.script("killer", bench.runtime.killing(after=1.0, back_after=5.0))
    await bench.publish("killer")
    async with bench.working():
        await bench.settled("killer")
        await bench.publish("order-1")
        await bench.publish("killer")
        await bench.publish("order-2")
        await bench.answer("order-2")
        await bench.answer("killer", nth=2)
        await bench.emptied()
    assert bench.runtime.lost == ["killer"] * 7, "one more time than it was delivered"


async def test_what_is_prepared_waits_for_the_runtime_too(bench: Bench) -> None:
    errors = [RuntimeAway("refused")] * 5 + [RunLost("broke in an upload")]

    class Uploading(ScriptedRuntime):
        async def prepare(self, job: Job, assets: Assets) -> Prepared:
            if errors:
                raise errors.pop()
            return await super().prepare(job, assets)

    await bench.publish("order-1")
    async with bench.working(bench.agent(Uploading())):
        assert (await bench.settled("order-1")).attempt == 1


async def test_inputs_that_end_the_runtime_each_time_spend_deliveries(bench: Bench) -> None:
    class Choking(ScriptedRuntime):
        async def prepare(self, job: Job, assets: Assets) -> Prepared:
            await super().prepare(job, assets)
            raise RunLost("broke in an upload")

    await bench.publish("order-1")
    choking = Choking()
    async with bench.working(bench.agent(choking)):
        assert (await bench.settled("order-1")).status == "failed"
    assert len(choking.prepared) == 9, "three times a delivery"


async def test_told_to_stop_while_the_runtime_is_away_all_is_given_back_at_once(
    bench: Bench,
) -> None:
    bench.runtime.backlog = 1
    bench.runtime.script("killer", bench.runtime.killing(after=1.0, back_after=600.0))
    await bench.publish("killer")
    await bench.publish("order-1")
    agent, stop = bench.agent(), asyncio.Event()
    working = asyncio.create_task(agent.run(stop))
    await bench.runtime.began.wait()
    await bench.pass_time(5)
    stop.set()
    async with asyncio.timeout(1):
        await working
    assert len(await bench.queue.receive(2, wait=0, visibility_timeout=1)) >= 1


async def test_runs_lost_while_the_agent_stops_are_given_back_at_once() -> None:
    """The pod ends: its runtime has had the signal too, and does not come back."""
    bench = Bench(runtime=ScriptedRuntime(concurrency=2))
    for job_id in ("order-1", "order-2"):
        bench.runtime.script(job_id, drawing(40.0))
        await bench.publish(job_id)
    agent, stop = bench.agent(), asyncio.Event()
    working = asyncio.create_task(agent.run(stop))
    await bench.pass_time(5)
    assert len(bench.runtime.runs) == 2
    stop.set()
    await bench.pass_time(1)
    bench.runtime.die(back_after=600.0)
    async with asyncio.timeout(1):
        await working
    assert len(await bench.queue.receive(2, wait=0, visibility_timeout=1)) == 2
