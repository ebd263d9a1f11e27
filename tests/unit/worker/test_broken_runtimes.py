"""Runtimes that answer and do not work, or fail at whatever they are asked, and cancelled runs."""

import asyncio
import math

import pytest

from queue_agent.runtime import Output, Prepared, ProgressCallback, RuntimeState
from queue_agent.tasks import background
from queue_agent.wire.errors import Rejected, RuntimeSick, RuntimeStuck
from queue_agent.worker.agent import Agent
from queue_agent.worker.leftovers import STUCK_AFTER
from worker_bench import RUN, Behaviour, Bench, ScriptedRuntime, drawing, failing

pytestmark = pytest.mark.looptime

LIMIT = 60.0
PROBES = 10.0
"""Seconds between two questions of whoever restarts what is broken."""
BROKEN_CONTEXT = "CUDA error: device-side assert triggered"


class DeafRuntime(ScriptedRuntime):
    """Goes on with a cancelled run for so long, while none of the others gets ahead."""

    def __init__(
        self,
        *,
        goes_on: float = math.inf,
        tells: bool = True,
        concurrency: int = 1,
        backlog: int = 0,
    ) -> None:
        super().__init__(concurrency=concurrency, backlog=backlog)
        self.worked: list[tuple[str, float]] = []
        """When work on each job truly began."""
        self._goes_on = goes_on
        self._tells = tells
        self._left: dict[int, float] = {}
        """When the cancelled runs end, by what was prepared."""

    async def still_runs(self, prepared: Prepared) -> bool | None:
        if not self._tells:
            return None
        return self._left.get(id(prepared), 0.0) > now()

    def _busy(self) -> bool:
        return sum(end > now() for end in self._left.values()) >= self.concurrency

    def die(self, back_after: float) -> None:
        self._left.clear()
        super().die(back_after)

    def _behaviour(self, job_id: str) -> Behaviour:
        behave = super()._behaviour(job_id)

        async def when_free(prepared: Prepared, report: ProgressCallback) -> Output:
            while self._busy():  # noqa: ASYNC110  a clock tells nobody
                await asyncio.sleep(0.1)
            self.worked.append((job_id, now()))
            try:
                return await behave(prepared, report)
            except asyncio.CancelledError:
                self._left[id(prepared)] = now() + self._goes_on
                raise

        return when_free


def now() -> float:
    return asyncio.get_running_loop().time()


async def hanging(_: Prepared, __: ProgressCallback) -> Output:
    await asyncio.Event().wait()
    raise AssertionError("it hangs")


async def restarting(agent: Agent, runtime: ScriptedRuntime, *, failures: int = 3) -> None:
    """The kubelet: starts the runtime anew when the agent has said so often enough."""
    seen = 0
    while True:
        await asyncio.sleep(PROBES)
        wanted, _ = await agent.health.to_restart()
        seen = seen + 1 if wanted else 0
        if seen >= failures:
            seen = 0
            runtime.die(back_after=20.0)


async def state_of(agent: Agent) -> RuntimeState:
    return (await agent.health.check()).state


async def test_a_stuck_runtime_costs_one_time_limit_and_nobody_an_answer() -> None:
    bench = Bench(max_receives=3, policy={"run_timeout": LIMIT})
    runtime = DeafRuntime(backlog=1)
    runtime.script("order-0", hanging, drawing())
    agent = bench.agent(runtime)
    orders = [f"order-{number}" for number in range(10)]
    for job_id in orders:
        await bench.publish(job_id)
    async with bench.working(agent):
        await runtime.began.wait()
        await bench.pass_time(LIMIT + STUCK_AFTER + 2)
        assert await state_of(agent) == "stuck"
        assert "runtime" in {name for name, why in (await agent.readiness()).items() if why}
        began = len(runtime.worked)
        await bench.pass_time(3600)
        assert len(runtime.worked) == began == 1, "nothing is tried while it is stuck"
        assert bench.told() == []
        async with background(restarting(agent, runtime)):
            for job_id in orders:
                assert (await bench.answer(job_id)).status == "completed"
            await bench.emptied()
    assert sum(seconds for _, seconds in runtime.worked[:1]) < LIMIT
    assert bench.dead_letters == []


async def test_what_waits_for_a_stuck_runtime_is_left_to_another_at_once() -> None:
    """Nobody restarts the runtime."""
    bench = Bench(max_receives=3, policy={"run_timeout": LIMIT, "hold_limit": 3600.0})
    broken = DeafRuntime()
    broken.script("order-0", hanging, hanging, hanging)
    agent, other = bench.agent(broken), bench.agent()
    orders = [f"order-{number}" for number in range(4)]
    for job_id in orders:
        await bench.publish(job_id)
    async with bench.working(agent):
        await broken.began.wait()
        await bench.pass_time(LIMIT + STUCK_AFTER + 2)
        assert await state_of(agent) == "stuck"
        async with bench.working(other):
            await bench.pass_time(60)
            assert {told.status for told in bench.told()} == {"completed"}
            assert len(bench.told()) == len(orders)


async def test_until_a_run_that_was_given_up_is_over_no_message_is_asked_for() -> None:
    """Nor is that of the run itself, which comes again meanwhile."""
    policy = {"run_timeout": LIMIT, "retry_delay": 10.0, "receive_wait": 1}
    bench = Bench(max_receives=3, policy=policy)
    broken = DeafRuntime()
    broken.script("order-0", hanging)
    await bench.publish("order-0")
    async with bench.working(bench.agent(broken)):
        await broken.began.wait()
        await bench.pass_time(LIMIT + 5)
        await bench.publish("order-1")
        await bench.pass_time(8)
        async with bench.working(bench.agent()):
            assert (await bench.answer("order-1")).attempt == 1
            assert (await bench.answer("order-0")).attempt == 2
            assert {told.status for told in bench.told()} == {"completed"}


async def test_a_runtime_that_answers_nothing_any_more_is_restarted_within_a_run() -> None:
    """Also one that tells nothing of its runs: it is silent, whatever becomes of the run."""
    bench = Bench(max_receives=3, policy={"run_timeout": 900.0})
    runtime = bench.runtime
    runtime.script("order-0", hanging, drawing())
    agent = bench.agent()
    orders = [f"order-{number}" for number in range(3)]
    for job_id in orders:
        await bench.publish(job_id)
    async with bench.working(agent):
        await runtime.began.wait()
        runtime.up = False  # the process hangs, and so does the connection
        await bench.pass_time(1)
        assert str((await agent.readiness())["runtime"]).startswith("away")
        async with background(restarting(agent, runtime)):
            for job_id in orders:
                assert (await bench.answer(job_id)).status == "completed"
    assert now() < 900.0
    assert runtime.lost[:1] == ["order-0"]


class OutlivedRuntime(DeafRuntime):
    """Takes cancelled runs for going on, since their connections never end."""

    async def still_runs(self, prepared: Prepared) -> bool:
        return id(prepared) in self._left

    def die(self, back_after: float) -> None:
        ScriptedRuntime.die(self, back_after)


@pytest.mark.parametrize("away_first", [False, True])
async def test_a_run_does_not_go_on_in_a_runtime_that_was_away_since(away_first: bool) -> None:
    bench = Bench(max_receives=3, policy={"run_timeout": LIMIT})
    runtime = OutlivedRuntime(goes_on=0.0)
    runtime.script("order-0", hanging, drawing())
    agent = bench.agent(runtime)
    orders = [f"order-{number}" for number in range(5)]
    for job_id in orders:
        await bench.publish(job_id)
    async with bench.working(agent), asyncio.timeout(3600):
        await runtime.began.wait()
        await bench.pass_time(1)
        if away_first:
            runtime.up = False
            assert await state_of(agent) == "away"
            runtime.up = True
            await bench.pass_time(LIMIT + 3 * STUCK_AFTER)
            assert await state_of(agent) == "ready"
        else:
            await bench.pass_time(LIMIT + 3 * STUCK_AFTER)
            assert await state_of(agent) == "stuck"
            runtime.die(back_after=20.0)
        for job_id in orders:
            assert (await bench.answer(job_id)).status == "completed"
        await bench.emptied()
    assert bench.dead_letters == []


async def test_what_waits_behind_a_stuck_run_does_not_spend_a_time_limit() -> None:
    bench = Bench(max_receives=1, policy={"run_timeout": LIMIT})
    runtime = DeafRuntime(backlog=1)
    runtime.script("order-0", hanging)
    agent = bench.agent(runtime)
    for job_id in ("order-0", "order-1"):
        await bench.publish(job_id)
    async with bench.working(agent), background(restarting(agent, runtime)):
        innocent = await bench.answer("order-1")
        guilty = await bench.answer("order-0")
    assert (innocent.status, innocent.attempt) == ("completed", 1)
    assert (guilty.status, guilty.error and guilty.error.type) == ("failed", "timeout")
    assert [job_id for job_id, _ in runtime.worked].count("order-0") == 2


async def test_a_job_at_its_last_delivery_is_run_once_more_after_the_restart() -> None:
    bench = Bench(max_receives=1, policy={"run_timeout": LIMIT})
    runtime = DeafRuntime()
    runtime.script("order-0", hanging, drawing())
    agent = bench.agent(runtime)
    await bench.publish("order-0")
    async with bench.working(agent), background(restarting(agent, runtime)):
        assert (await bench.settled("order-0")).status == "completed"


async def test_a_job_that_takes_too_long_for_a_runtime_that_stops_is_its_own_fault() -> None:
    bench = Bench(max_receives=1, policy={"run_timeout": LIMIT})
    runtime = DeafRuntime(goes_on=2.0)
    runtime.script("order-0", hanging)
    agent = bench.agent(runtime)
    await bench.publish("order-0")
    async with bench.working(agent):
        told = await bench.answer("order-0")
        assert await state_of(agent) == "ready"
    assert told.status == "failed"
    assert len(runtime.worked) == 1


@pytest.mark.parametrize("backlog", [0, 1])
async def test_the_place_of_a_cancelled_run_is_taken_until_it_is_over(backlog: int) -> None:
    bench = Bench(policy={"run_timeout": RUN + 1, "cancel_poll": 1.0})
    runtime = DeafRuntime(goes_on=8.0, backlog=backlog)
    for job_id in ("order-0", "order-1"):
        await bench.publish(job_id)
    async with bench.working(bench.agent(runtime)):
        await runtime.began.wait()
        await bench.results.write("cancelled/order-0", b"", media_type="text/plain")
        assert (await bench.answer("order-0")).status == "cancelled"
        cancelled_at = now()
        told = await bench.answer("order-1")
    (_, began) = runtime.worked[1]
    assert cancelled_at < began, "the publisher need not wait for it"
    assert began >= cancelled_at + 7.0
    assert (told.status, told.attempt) == ("completed", 1), "its time runs when the GPU is free"


async def test_where_nobody_can_tell_the_rest_of_the_run_is_waited_for() -> None:
    bench = Bench(policy={"cancel_poll": 1.0})
    runtime = DeafRuntime(tells=False, goes_on=0.0)
    async with bench.working(bench.agent(runtime)):
        for number in range(3):
            await bench.publish(f"order-{number}")
            await bench.answer(f"order-{number}")
        await bench.publish("cancelled")
        await bench.publish("next")
        while len(runtime.worked) < 4:  # noqa: ASYNC110  a list tells nobody
            await asyncio.sleep(0.1)
        await bench.results.write("cancelled/cancelled", b"", media_type="text/plain")
        await bench.answer("next")
    (_, began), (_, following) = runtime.worked[3:]
    assert RUN - 1 < following - began < RUN + 3


async def test_a_runtime_whose_other_runs_get_ahead_is_not_stuck() -> None:
    bench = Bench(policy={"cancel_poll": 1.0, "run_timeout": 3600.0})
    runtime = DeafRuntime(concurrency=2)
    runtime.script("long", drawing(600.0, progress=[n / 100 for n in range(1, 100)]))
    agent = bench.agent(runtime)
    for job_id in ("long", "order-0"):
        await bench.publish(job_id)
    async with bench.working(agent):
        while len(runtime.worked) < 2:  # noqa: ASYNC110  a list tells nobody
            await asyncio.sleep(0.1)
        await bench.results.write("cancelled/order-0", b"", media_type="text/plain")
        await bench.answer("order-0")
        await bench.pass_time(400)
        assert await state_of(agent) == "ready"
        assert (await bench.answer("long")).status == "completed"
        await bench.pass_time(2 * STUCK_AFTER)
        assert await state_of(agent) == "stuck"


async def test_a_runtime_that_moves_again_is_given_jobs_again() -> None:
    bench = Bench(policy={"run_timeout": LIMIT})
    runtime = DeafRuntime(goes_on=300.0)
    runtime.script("order-0", hanging, drawing())
    agent = bench.agent(runtime)
    await bench.publish("order-0")
    async with bench.working(agent), asyncio.timeout(3600):
        await bench.pass_time(LIMIT + STUCK_AFTER + 10)
        assert await state_of(agent) == "stuck"
        assert (await bench.settled("order-0")).status == "completed"
        assert await state_of(agent) == "ready"


@pytest.mark.parametrize("error", [RuntimeSick(BROKEN_CONTEXT), RuntimeStuck("nothing runs")])
@pytest.mark.parametrize("max_receives", [1, 2, 3])
async def test_a_runtime_beyond_repair_is_left_alone_until_it_was_away(
    error: RuntimeSick | RuntimeStuck, max_receives: int
) -> None:
    bench = Bench(max_receives=max_receives)
    runtime = ScriptedRuntime(backlog=1)
    runtime.script("order-0", failing(error, after=1.0), drawing())
    agent = bench.agent(runtime)
    orders = [f"order-{number}" for number in range(5)]
    for job_id in orders:
        await bench.publish(job_id)
    async with bench.working(agent):
        await bench.pass_time(600)
        assert runtime.runs.count("order-0") == 1
        assert len(runtime.runs) <= 2, "the one that was with the runtime is ended, too"
        assert bench.told() == []
        assert await state_of(agent) in {"sick", "stuck"}
        async with background(restarting(agent, runtime)):
            for job_id in orders:
                assert (await bench.answer(job_id)).status == "completed"


async def test_a_job_that_breaks_the_runtime_each_time_is_given_up_at_last() -> None:
    bench = Bench(max_receives=2)
    bench.runtime.script("order-0", failing(RuntimeSick(BROKEN_CONTEXT), after=1.0))
    agent = bench.agent()
    for job_id in ("order-0", "order-1"):
        await bench.publish(job_id)
    async with bench.working(agent), background(restarting(agent, bench.runtime)):
        guilty = await bench.answer("order-0")
        assert (await bench.answer("order-1")).status == "completed"
    assert (guilty.status, guilty.error and guilty.error.type) == ("failed", "runtime_sick")


async def test_what_the_publisher_wrote_breaks_no_runtime() -> None:
    bench = Bench(max_receives=1)
    bench.runtime.script("order-0", failing(RuntimeSick(f"no such style: {BROKEN_CONTEXT}")))
    agent = bench.agent()
    await bench.publish("order-0", {"prompt": "x", "styles": [BROKEN_CONTEXT]})
    async with bench.working(agent), asyncio.timeout(3600):
        told = await bench.answer("order-0")
        assert await state_of(agent) == "ready"
    assert told.error is not None
    assert told.error.type == "runtime_unavailable"


async def test_what_a_broken_runtime_says_of_the_next_job_is_not_believed() -> None:
    bench = Bench(max_receives=3)
    runtime = ScriptedRuntime(concurrency=2)
    runtime.script("order-0", failing(RuntimeSick(BROKEN_CONTEXT), after=1.0), drawing())
    blaming = failing(Rejected("CUDA error: initialization error"), after=1.0)
    runtime.script("order-1", blaming, drawing())
    agent = bench.agent(runtime)
    for job_id in ("order-0", "order-1"):
        await bench.publish(job_id)
    async with bench.working(agent), background(restarting(agent, runtime)):
        for job_id in ("order-0", "order-1"):
            assert (await bench.answer(job_id)).status == "completed"


async def test_only_what_is_broken_for_long_enough_is_to_be_restarted(bench: Bench) -> None:
    health = bench.agent().health
    assert await health.to_restart() == (False, await health.check())
    health.found_stuck("it goes on")
    assert not (await health.to_restart())[0], "it may still end"
    await asyncio.sleep(30)
    assert (await health.to_restart())[0]
    health.relieved()
    assert not (await health.to_restart())[0]
    health.failed(RuntimeSick(BROKEN_CONTEXT))
    assert (await health.to_restart())[0], "there is nothing to wait for"
    bench.runtime.up = False
    assert not (await health.to_restart())[0], "it is being restarted"
    await asyncio.sleep(60)
    assert (await health.to_restart())[0], "silent for a minute"
