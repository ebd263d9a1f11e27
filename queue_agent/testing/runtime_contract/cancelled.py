"""What becomes of runs that are cancelled or taken up by another."""

import asyncio
import contextlib
from copy import copy
from dataclasses import replace

import pytest

from queue_agent.runtime import Prepared, Runtime
from queue_agent.testing.fault_proxy import BlackHole, FaultProxy
from queue_agent.testing.process import ServerProcess
from queue_agent.testing.runtime_contract.broken_answers import BROKEN_ANSWERS
from queue_agent.testing.runtime_contract.hooks import RuntimeHooks, contents, ignore, task_of
from queue_agent.testing.waiting import SOON, eventually
from queue_agent.wire.errors import QueueAgentError, Unavailable
from queue_agent.wire.job import Job


class CancelPromises(RuntimeHooks):
    """What becomes of runs that are cancelled or taken up by another."""

    @pytest.mark.asyncio
    async def test_a_run_that_hands_out_what_it_has_done_is_taken_up_by_another(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        await eventually(runtime.ready)
        job, _ = self.two_jobs()
        prepared = await runtime.prepare(job, self.assets_for(runtime, job))
        assert await runtime.checkpoint(prepared, stop=False) is None, "it does not run"
        if not runtime.checkpoints:
            return
        whole = contents(await runtime.run(prepared, ignore))
        async with task_of(runtime, prepared) as task:
            await eventually(lambda: self.busy(server))
            checkpoint = await runtime.checkpoint(prepared, stop=True)
            task.cancel()
            await asyncio.wait({task})
        kept = checkpoint.data if checkpoint else None
        for given in (kept, b"what no server has handed out"):
            again = replace(prepared, checkpoint=given)
            assert contents(await runtime.run(again, ignore)) == whole

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BROKEN_ANSWERS)
    async def test_asking_what_a_run_has_done_raises_nothing_but_errors_of_the_tree(
        self, server: ServerProcess, name: str
    ) -> None:
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            if not runtime.checkpoints:
                return
            prepared = await runtime.prepare(job := self.slow_job(), self.assets_for(runtime, job))
            async with task_of(runtime, prepared):
                await eventually(lambda: self.busy(server))
                with proxy.fault(copy(BROKEN_ANSWERS[name])), contextlib.suppress(QueueAgentError):
                    async with asyncio.timeout(SOON):
                        await runtime.checkpoint(prepared, stop=False)
        await eventually(lambda: self.idle(server))

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("cancelling_stops_the_server")
    async def test_cancelling_stops_the_work_on_the_server(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        async with self.running(runtime, self.slow_job()) as task:
            await eventually(lambda: self.busy(server))
            task.cancel()
            await asyncio.wait({task}, timeout=SOON)
            assert task.cancelled()
            await eventually(lambda: self.idle(server))
        output = await self.prepare_and_run(runtime, self.jobs()[0])
        assert output.artifacts, "the runtime works on after a cancelled job"

    @pytest.mark.asyncio
    async def test_after_a_cancelled_run_it_says_when_the_server_is_free(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        job = self.slow_job()
        prepared = await runtime.prepare(job, self.assets_for(runtime, job))
        async with task_of(runtime, prepared) as task:
            await eventually(lambda: self.busy(server))
            task.cancel()
            await asyncio.wait({task}, timeout=SOON)
        answers: set[bool | None] = set()

        async def over() -> bool:
            answers.add(await runtime.still_runs(prepared))
            if not self.stops_cancelled and answers == {True}:
                await self.end_work(server)
            return not answers.isdisjoint({False, None})

        await eventually(over)
        assert answers <= {True, False} or answers == {None}, "either it can tell, or it cannot"
        if False in answers:
            assert not await self.busy(server)
        assert await runtime.ready()

    @pytest.mark.asyncio
    async def test_a_cancelled_run_is_over_when_the_server_is_gone(self) -> None:
        server = self.new_server()
        try:
            await asyncio.to_thread(server.start)
            async with self.opened(server.url) as runtime:
                await eventually(runtime.ready)
                job = self.slow_job()
                prepared = await runtime.prepare(job, self.assets_for(runtime, job))
                async with task_of(runtime, prepared) as task:
                    await eventually(lambda: self.busy(server))
                    await asyncio.to_thread(server.kill)
                    task.cancel()
                    await asyncio.wait({task}, timeout=SOON)
                await eventually(lambda: _is_over(runtime, prepared))
        finally:
            await asyncio.to_thread(server.stop)

    @pytest.mark.asyncio
    async def test_cancelling_a_job_before_the_server_has_it_leaves_nothing_behind(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        async with self.running(runtime, self.slow_job()) as task:
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task}, timeout=SOON)
            assert task.cancelled()
        await eventually(lambda: self.idle(server))

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("two_jobs_at_a_time")
    async def test_cancelling_a_waiting_job_does_not_disturb_the_running_one(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        async with self.both_held(runtime, server, self.two_jobs) as (running, waiting, job, _):
            waiting.cancel()
            await asyncio.wait({waiting}, timeout=SOON)
            undisturbed = contents(await running)
        assert undisturbed == contents(await self.prepare_and_run(runtime, job))

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("two_jobs_at_a_time", "cancelling_stops_the_server")
    async def test_cancelling_the_running_job_does_not_disturb_the_waiting_one(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        def jobs(seconds: float) -> tuple[Job, Job]:
            return self.slow_job(), self.two_jobs(seconds)[0]

        async with self.both_held(runtime, server, jobs) as (running, waiting, _, job):
            running.cancel()
            async with asyncio.timeout(SOON):
                undisturbed = contents(await waiting)
        assert undisturbed == contents(await self.prepare_and_run(runtime, job))

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("two_jobs_at_a_time", "cancelling_stops_the_server")
    async def test_a_cancelled_waiting_job_is_not_worked_on_later(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        def jobs(seconds: float) -> tuple[Job, Job]:
            return self.two_jobs(seconds)[0], self.slow_job()

        async with self.both_held(runtime, server, jobs) as (running, waiting, _, _):
            waiting.cancel()
            await asyncio.wait({waiting}, timeout=SOON)
            await running
        await eventually(lambda: self.idle(server))

    @pytest.mark.asyncio
    async def test_a_run_that_gets_no_answer_can_be_cancelled(self, server: ServerProcess) -> None:
        job = self.jobs()[0]
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            prepared = await runtime.prepare(job, self.assets_for(runtime, job))
            with proxy.fault(BlackHole()):
                asked = proxy.count()
                task = asyncio.create_task(runtime.run(prepared, ignore))
                await eventually(lambda: proxy.count() > asked)
                task.cancel()
                done, _ = await asyncio.wait({task}, timeout=SOON)
                assert done, "the adapter must not wait for ever to stop a silent server"


async def _is_over(runtime: Runtime, prepared: Prepared) -> bool:
    try:
        return not await runtime.still_runs(prepared)
    except Unavailable:
        return True
