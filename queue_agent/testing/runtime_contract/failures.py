"""What becomes of jobs where they are refused, or their server is sick or gone."""

import asyncio
import contextlib
import os
import stat
from copy import copy

import pytest

from queue_agent.outputs import describe
from queue_agent.runtime import Runtime
from queue_agent.testing.fault_proxy import Damage, FaultProxy, Hold, Oversized, Request
from queue_agent.testing.process import ServerProcess
from queue_agent.testing.runtime_contract.broken_answers import BROKEN_ANSWERS
from queue_agent.testing.runtime_contract.hooks import RuntimeHooks, ignore, task_of
from queue_agent.testing.waiting import SOON, eventually
from queue_agent.wire.errors import Rejected, RunLost, RuntimeAway, Unavailable


class FailurePromises(RuntimeHooks):
    """What becomes of jobs where they are refused, or their server is sick or gone."""

    @pytest.mark.asyncio
    async def test_a_run_on_a_server_that_is_killed_is_lost(self) -> None:
        server = self.new_server()
        try:
            await asyncio.to_thread(server.start)
            async with self.opened(server.url) as runtime:
                await eventually(runtime.ready)
                async with self.running(runtime, self.slow_job()) as task:
                    await eventually(lambda: self.busy(server))
                    await asyncio.to_thread(server.kill)
                    with pytest.raises(RunLost):
                        async with asyncio.timeout(SOON):
                            await task
        finally:
            await asyncio.to_thread(server.stop)

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("two_jobs_at_a_time")
    async def test_a_job_that_waits_on_a_server_that_is_killed_is_lost_too(self) -> None:
        server = self.new_server()
        try:
            await asyncio.to_thread(server.start)
            async with self.opened(server.url) as runtime:
                await eventually(runtime.ready)
                async with self.both_held(
                    runtime, server, lambda _: (self.slow_job(), self.two_jobs()[0])
                ) as (running, waiting, _, _):
                    await asyncio.to_thread(server.kill)
                    for task in (running, waiting):
                        with pytest.raises(RunLost):
                            async with asyncio.timeout(SOON):
                                await task
        finally:
            await asyncio.to_thread(server.stop)

    @pytest.mark.asyncio
    async def test_a_server_that_is_not_there_never_had_the_job(self) -> None:
        server, job = self.new_server(), self.jobs()[0]
        try:
            await asyncio.to_thread(server.start)
            async with self.opened(server.url) as runtime:
                await eventually(runtime.ready)
                prepared = await runtime.prepare(job, self.assets_for(runtime, job))
                await asyncio.to_thread(server.kill)
                with pytest.raises(RuntimeAway):
                    async with asyncio.timeout(SOON):
                        await runtime.run(prepared, ignore)
        finally:
            await asyncio.to_thread(server.stop)

    @pytest.mark.asyncio
    async def test_preparing_without_the_server_needs_none_or_says_that_it_is_away(self) -> None:
        nowhere = ServerProcess([]).url
        async with self.opened(nowhere) as runtime:
            for job in [*self.jobs(), self.job_with_references()[0]]:
                with contextlib.suppress(RuntimeAway):
                    async with asyncio.timeout(SOON):
                        await runtime.prepare(job, self.assets_for(runtime, job))

    @pytest.mark.asyncio
    async def test_a_refused_job_is_rejected_with_the_servers_words(self, runtime: Runtime) -> None:
        job, words = self.bad_job()
        with pytest.raises(Rejected) as caught:
            await self.prepare_and_run(runtime, job)
        assert words in caught.value.message

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BROKEN_ANSWERS)
    async def test_a_broken_answer_is_unavailable(self, server: ServerProcess, name: str) -> None:
        fault = copy(BROKEN_ANSWERS[name])
        job = self.jobs()[0]
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            prepared = await runtime.prepare(job, self.assets_for(runtime, job))
            with proxy.fault(fault, _is_plain_http), pytest.raises(Unavailable):
                async with asyncio.timeout(SOON):
                    await runtime.run(prepared, ignore)
        await eventually(lambda: self.idle(server))  # of jobs of which only the answer was lost
        if isinstance(fault, Oversized):
            assert not fault.swallowed, "the answer was read without a limit"

    @pytest.mark.asyncio
    async def test_a_damaged_picture_is_never_handed_over_as_a_whole_one(
        self, server: ServerProcess
    ) -> None:
        """What the adapter does not notice the agent does, unless something mended it."""
        damage, job = Damage(), self.jobs()[0]
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            prepared = await runtime.prepare(job, self.assets_for(runtime, job))
            with proxy.fault(damage, _is_plain_http):
                try:
                    output = await runtime.run(prepared, ignore)
                    for number, artifact in enumerate(output.artifacts, 1):
                        await describe(artifact, f"Artifact {number}")
                except Unavailable:
                    return
        if not damage.done:
            pytest.skip("its answer has no PNG")
        pytest.fail("a damaged picture went through")

    @pytest.mark.asyncio
    async def test_a_slow_answer_is_waited_for(self, server: ServerProcess) -> None:
        job = self.jobs()[0]
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            prepared = await runtime.prepare(job, self.assets_for(runtime, job))
            held = Hold()
            with proxy.fault(held):
                asked = proxy.count()
                async with task_of(runtime, prepared) as task:
                    await eventually(lambda: proxy.count() > asked)
                    assert not task.done()
                    held.release()
                    async with asyncio.timeout(SOON):
                        assert (await task).artifacts

    @pytest.mark.asyncio
    async def test_nothing_is_left_open_after_closing(self, server: ServerProcess) -> None:
        tasks, sockets = asyncio.all_tasks(), open_sockets()
        async with self.opened(server.url) as runtime:
            await runtime.ready()
            for job in self.jobs():
                await self.prepare_and_run(runtime, job)
            with pytest.raises(Rejected):
                await self.prepare_and_run(runtime, self.bad_job()[0])
            async with self.running(runtime, self.slow_job()):
                await eventually(lambda: self.busy(server))
        await eventually(lambda: asyncio.all_tasks() <= tasks)
        await eventually(lambda: open_sockets() <= sockets)
        await eventually(lambda: self.idle(server))


def open_sockets() -> int:
    """How many sockets this process has open."""
    return sum(map(_is_socket, os.listdir("/dev/fd")))  # noqa: PTH208  numbers, not paths


def _is_socket(descriptor: str) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(int(descriptor)).st_mode)
    except OSError:
        return False


def _is_plain_http(request: Request) -> bool:
    """Not the beginning of a WebSocket, whose library reads the answer by its own rules."""
    return "upgrade" not in request.headers
