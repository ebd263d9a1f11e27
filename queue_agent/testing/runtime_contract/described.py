"""What an adapter says of itself and its server."""

import asyncio
import contextlib
from copy import copy

import pytest

from queue_agent.runtime import Capabilities, ModelUse, Readiness, Runtime
from queue_agent.testing.fault_proxy import BlackHole, Fault, FaultProxy, Reset, Status
from queue_agent.testing.process import ServerProcess
from queue_agent.testing.runtime_contract.broken_answers import BROKEN_ANSWERS
from queue_agent.testing.runtime_contract.hooks import RuntimeHooks, contents, ignore
from queue_agent.testing.waiting import SOON, eventually
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.offer import Offer
from queue_agent.wire.submission import complete


class DescriptionPromises(RuntimeHooks):
    """What an adapter says of itself and its server."""

    @pytest.mark.asyncio
    async def test_it_can_be_made_without_a_loop_and_without_its_server(self) -> None:
        options = self.options(ServerProcess([]).url)
        runtime = await asyncio.to_thread(self.adapter, options)
        await runtime.aclose()

    @pytest.mark.asyncio
    async def test_it_is_ready_only_while_its_server_is_up(self) -> None:
        server = self.new_server()
        async with self.opened(server.url) as runtime:
            assert not await runtime.ready()
            try:
                await asyncio.to_thread(server.start)
                await eventually(runtime.ready)
            finally:
                await asyncio.to_thread(server.stop)
            assert not await runtime.ready()

    @pytest.mark.asyncio
    @pytest.mark.parametrize("fault", [BlackHole(), Reset(), Status(500), Status(502, b"<html>")])
    async def test_it_is_not_ready_while_its_server_answers_nonsense(
        self, server: ServerProcess, fault: Fault
    ) -> None:
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            with proxy.fault(fault):
                async with asyncio.timeout(SOON):
                    assert not await runtime.ready()

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BROKEN_ANSWERS)
    async def test_asking_whether_it_is_ready_never_raises(
        self, server: ServerProcess, name: str
    ) -> None:
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            with proxy.fault(copy(BROKEN_ANSWERS[name])):
                async with asyncio.timeout(SOON):
                    assert isinstance(await runtime.ready(), bool | Readiness)

    @pytest.mark.asyncio
    async def test_its_own_warm_up_is_a_job_that_its_server_does(self, runtime: Runtime) -> None:
        if (body := runtime.warm_up()) is None:
            pytest.skip("it has none")
        job = complete(dict(body), job_id="warm-up")
        assert job.task_type in runtime.task_types
        await eventually(runtime.ready)
        runtime.check_places(job)
        prepared = await runtime.prepare(job, {})
        async with asyncio.timeout(SOON):
            output = await runtime.run(prepared, ignore)
        assert contents(output)

    @pytest.mark.asyncio
    async def test_it_is_handed_no_more_jobs_than_its_server_takes(self, runtime: Runtime) -> None:
        await eventually(runtime.ready)
        assert runtime.concurrency >= 1
        assert runtime.backlog >= 0
        assert self.takes_two_jobs or runtime.concurrency + runtime.backlog == 1

    @pytest.mark.asyncio
    async def test_it_says_what_its_server_has_where_it_can_tell(self, runtime: Runtime) -> None:
        await eventually(runtime.ready)
        known = await runtime.capabilities()
        assert isinstance(known, Capabilities)
        assert known == await runtime.capabilities(), "what has not changed is said as before"
        said = Offer(**dict(known), runtime="here").to_json()
        assert Capabilities.model_validate_json(said) == known

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BROKEN_ANSWERS)
    async def test_asking_what_its_server_has_raises_nothing_but_errors_of_the_tree(
        self, server: ServerProcess, name: str
    ) -> None:
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            with proxy.fault(copy(BROKEN_ANSWERS[name])), contextlib.suppress(QueueAgentError):
                async with asyncio.timeout(SOON):
                    assert isinstance(await runtime.capabilities(), Capabilities)

    @pytest.mark.asyncio
    async def test_it_says_what_is_loaded_where_it_can_tell(self, runtime: Runtime) -> None:
        await eventually(runtime.ready)
        loaded = await runtime.loaded()
        assert loaded is None or loaded.most >= 1
        assert loaded == await runtime.loaded(), "what has not changed is said as before"

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BROKEN_ANSWERS)
    async def test_asking_what_is_loaded_raises_nothing_but_errors_of_the_tree(
        self, server: ServerProcess, name: str
    ) -> None:
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            with proxy.fault(copy(BROKEN_ANSWERS[name])), contextlib.suppress(QueueAgentError):
                async with asyncio.timeout(SOON):
                    await runtime.loaded()
                    await runtime.preload(ModelUse.named(["a model"]))
