"""The promises of an adapter, one test each; every adapter passes them.

    class TestMyRuntime(RuntimeContract):
        adapter = MyRuntime

        @classmethod
        def new_server(cls) -> ServerProcess:
            return ServerProcess([sys.executable, "-m", "my_fake", "--port", "{port}"])

        def jobs(self): ...  # and the other hooks below

Every hook that raises `NotImplementedError` here is to be overridden. The server may be the
real one or a fake that refuses what the real one refuses. The tests wait for what the server
says of itself, never for time, so that they hold on a slow machine too.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from copy import copy
from typing import ClassVar, Final

import pytest
import pytest_asyncio

from queue_agent.runtime import (
    Asset,
    Assets,
    Output,
    Prepared,
    Progress,
    Runtime,
    RuntimeOptions,
)
from queue_agent.testing.fault_proxy import (
    BlackHole,
    Fault,
    FaultProxy,
    LoseAnswer,
    Oversized,
    Request,
    Reset,
    Status,
    Truncate,
    Withhold,
)
from queue_agent.testing.process import ServerProcess
from queue_agent.testing.samples import in_a_file, sample_png
from queue_agent.testing.waiting import SOON, eventually
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.job import Job

BROKEN_ANSWERS: Final[dict[str, Fault]] = {
    "a 500": Status.of_json(500, {"detail": "boom"}),
    "a 502 in HTML": Status(502, b"<html>Bad Gateway</html>", {"content-type": "text/html"}),
    "a 503": Status(503, b"", {"retry-after": "1"}),
    "no JSON": Status(200, b"\x89 not JSON", {"content-type": "application/json"}),
    "JSON of another shape": Status.of_json(200, ["surprise"]),
    "a truncated answer": Truncate(),
    "an oversized answer": Oversized(),
    "a reset connection": Reset(),
    "a connection lost before the answer": LoseAnswer(),
}

_MEETINGS: Final = 5


class RuntimeContract:
    """Tests that any adapter must pass; subclass it and override the hooks."""

    adapter: ClassVar[type[Runtime]]
    takes_two_jobs: ClassVar[bool] = True
    """Whether the server takes a second job while it works on one, at its side or in a queue.

    Where it does not, the tests of two jobs at a time are skipped, and `concurrency` and
    `backlog` of the adapter must say so.
    """

    @classmethod
    def new_server(cls) -> ServerProcess:
        """A server on a free port, not started."""
        raise NotImplementedError

    def options(self, url: str) -> RuntimeOptions:
        """Options for an adapter of the server at `url`."""
        return RuntimeOptions(base_url=url)

    def jobs(self) -> Sequence[Job]:
        """One quick job of each declared task type."""
        raise NotImplementedError

    def slow_job(self) -> Job:
        """A job that keeps the server busy for three minutes or more; each test stops it."""
        raise NotImplementedError

    def two_jobs(self) -> tuple[Job, Job]:
        """Two jobs of about a second each: long enough to be met by another job.

        Each gives the same artifacts whenever it is run (fix the seed), and other ones than
        the other job.
        """
        raise NotImplementedError

    def bad_job(self) -> tuple[Job, str]:
        """A job that the server refuses with a 4xx status, and some words of its answer."""
        raise NotImplementedError

    def job_with_references(self) -> tuple[Job, set[str]]:
        """A job with URLs in the fields that hold media *and* in some that do not.

        A prompt should begin with ``http``. The set holds the URLs that are references. The job
        must run once they have been replaced by images.
        """
        raise NotImplementedError

    async def jobs_held(self, server: ServerProcess) -> int:
        """How many jobs the server works on or has waiting; asked of the server itself."""
        raise NotImplementedError

    def assets_for(self, runtime: Runtime, job: Job) -> Assets:
        """Bytes for the references of a job: a small PNG each, unless overridden."""
        return {found.url: Asset(sample_png(), "image/png") for found in runtime.references(job)}

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Iterator[ServerProcess]:
        """The server that the tests of the class share; tests that kill one start their own."""
        with cls.new_server() as server:
            yield server

    @pytest_asyncio.fixture
    async def runtime(self, server: ServerProcess) -> AsyncIterator[Runtime]:
        async with self.opened(server.url) as runtime:
            yield runtime
        await eventually(lambda: self.idle(server))

    @contextlib.asynccontextmanager
    async def opened(self, url: str) -> AsyncIterator[Runtime]:
        """An adapter for the server at `url`, closed at the end."""
        runtime = self.adapter(self.options(url))
        try:
            yield runtime
        finally:
            await runtime.aclose()

    async def prepare_and_run(self, runtime: Runtime, job: Job) -> Output:
        prepared = await runtime.prepare(job, self.assets_for(runtime, job))
        return await runtime.run(prepared, ignore)

    async def busy(self, server: ServerProcess) -> bool:
        """Whether the server works on a job or has one waiting."""
        return await self.jobs_held(server) > 0

    async def idle(self, server: ServerProcess) -> bool:
        """Whether the server has nothing to do."""
        return not await self.busy(server)

    @contextlib.asynccontextmanager
    async def running(self, runtime: Runtime, job: Job) -> AsyncIterator[asyncio.Task[Output]]:
        """The job under way in a task that is cancelled at the end, if it still runs."""
        prepared = await runtime.prepare(job, self.assets_for(runtime, job))
        async with _task_of(runtime, prepared) as task:
            yield task

    @contextlib.asynccontextmanager
    async def both_held(
        self, runtime: Runtime, server: ServerProcess, first: Job, second: Job
    ) -> AsyncIterator[tuple[asyncio.Task[Output], asyncio.Task[Output]]]:
        """Two jobs that the server holds at the same time, the second sent when it has the first.

        The first may be over before the second is there, on a machine that is slow just then:
        they are sent again.
        """
        for _ in range(_MEETINGS):
            async with self.running(runtime, first) as running:
                await self._until_held(server, 1, running)
                async with self.running(runtime, second) as waiting:
                    await self._until_held(server, 2, running)
                    if not running.done():
                        yield running, waiting
                        return
                    running.result()
            await eventually(lambda: self.idle(server))
        pytest.fail(f"{first.id} is over before the server has a second job: make it longer")

    async def _until_held(
        self, server: ServerProcess, count: int, running: asyncio.Task[Output]
    ) -> None:
        """Wait until the server holds so many jobs, or the one that runs is over."""

        async def held() -> bool:
            return running.done() or await self.jobs_held(server) >= count

        await eventually(held)

    @pytest.fixture
    def two_jobs_at_a_time(self) -> None:
        """For tests that need a server that takes them."""
        if not self.takes_two_jobs:
            pytest.skip("the server takes one job at a time")

    @pytest.mark.asyncio
    async def test_it_can_be_made_without_a_loop_and_without_its_server(self) -> None:
        options = self.options(ServerProcess([]).url)
        runtime = await asyncio.to_thread(self.adapter, options)
        await runtime.aclose()

    @pytest.mark.asyncio
    async def test_it_is_ready_only_while_its_server_is_up(self) -> None:
        server = self.new_server()
        async with self.opened(server.url) as runtime:
            assert await runtime.ready() is False
            try:
                await asyncio.to_thread(server.start)
                await eventually(runtime.ready)
            finally:
                await asyncio.to_thread(server.stop)
            assert await runtime.ready() is False

    @pytest.mark.asyncio
    @pytest.mark.parametrize("fault", [BlackHole(), Reset(), Status(500), Status(502, b"<html>")])
    async def test_it_is_not_ready_while_its_server_answers_nonsense(
        self, server: ServerProcess, fault: Fault
    ) -> None:
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            with proxy.fault(fault):
                async with asyncio.timeout(SOON):
                    assert await runtime.ready() is False

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", BROKEN_ANSWERS)
    async def test_asking_whether_it_is_ready_never_raises(
        self, server: ServerProcess, name: str
    ) -> None:
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            with proxy.fault(copy(BROKEN_ANSWERS[name])):
                async with asyncio.timeout(SOON):
                    assert await runtime.ready() in {True, False}

    @pytest.mark.asyncio
    async def test_it_is_handed_no_more_jobs_than_its_server_takes(self, runtime: Runtime) -> None:
        await eventually(runtime.ready)
        assert runtime.concurrency >= 1
        assert runtime.backlog >= 0
        assert self.takes_two_jobs or runtime.concurrency + runtime.backlog == 1

    @pytest.mark.asyncio
    async def test_each_declared_task_type_yields_artifacts(self, runtime: Runtime) -> None:
        jobs = self.jobs()
        assert {job.task_type for job in jobs} == set(self.adapter.task_types)
        for job in jobs:
            output = await self.prepare_and_run(runtime, job)
            assert output.artifacts
            for artifact in output.artifacts:
                assert artifact.data
                assert "/" in artifact.media_type
                assert artifact.media_type != "application/octet-stream"

    @pytest.mark.asyncio
    async def test_references_are_found_where_media_stand_and_nowhere_else(
        self, runtime: Runtime
    ) -> None:
        job, expected = self.job_with_references()
        before = job.model_dump_json()
        assert {found.url for found in runtime.references(job)} == expected
        for found in runtime.references(job):
            assert found.path, "a reference says where it stands"
        assert job.model_dump_json() == before, "looking for references must not change the job"

    @pytest.mark.asyncio
    async def test_a_job_with_references_runs_on_their_bytes(self, runtime: Runtime) -> None:
        job, _ = self.job_with_references()
        before = job.model_dump_json()
        output = await self.prepare_and_run(runtime, job)
        assert output.artifacts
        assert job.model_dump_json() == before, "preparing must not change the job"

    @pytest.mark.asyncio
    async def test_inputs_that_lie_in_files_can_be_read_until_the_run_is_over(
        self, runtime: Runtime
    ) -> None:
        job, _ = self.job_with_references()
        with contextlib.ExitStack() as files:
            assets = {
                url: Asset(files.enter_context(in_a_file(asset.data)), asset.media_type)
                for url, asset in self.assets_for(runtime, job).items()
            }
            prepared = await runtime.prepare(job, assets)
            for _ in range(2):  # a run that fails is tried again
                assert (await runtime.run(prepared, ignore)).artifacts

    @pytest.mark.asyncio
    async def test_preparing_uses_no_gpu(self, runtime: Runtime, server: ServerProcess) -> None:
        for job in self.jobs():
            await runtime.prepare(job, self.assets_for(runtime, job))
            assert not await self.busy(server)

    @pytest.mark.asyncio
    async def test_progress_never_falls_and_ends_at_1(self, runtime: Runtime) -> None:
        for job in [*self.jobs(), self.two_jobs()[0]]:
            reports: list[Progress] = []
            prepared = await runtime.prepare(job, self.assets_for(runtime, job))
            await runtime.run(prepared, reports.append)
            fractions = [report.fraction for report in reports]
            assert fractions == sorted(fractions)
            assert all(0.0 <= fraction <= 1.0 for fraction in fractions)
            assert fractions[-1:] == [1.0]

    @pytest.mark.asyncio
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
    async def test_two_jobs_at_once_give_each_its_own_outputs(self, runtime: Runtime) -> None:
        first, second = self.two_jobs()
        alone = [await self.prepare_and_run(runtime, job) for job in (first, second)]
        assert contents(alone[0]) != contents(alone[1])
        together = await asyncio.gather(
            self.prepare_and_run(runtime, first), self.prepare_and_run(runtime, second)
        )
        assert [contents(output) for output in together] == [contents(output) for output in alone]

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("two_jobs_at_a_time")
    async def test_cancelling_a_waiting_job_does_not_disturb_the_running_one(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        job, other = self.two_jobs()
        alone = await self.prepare_and_run(runtime, job)
        async with self.both_held(runtime, server, job, other) as (running, waiting):
            waiting.cancel()
            await asyncio.wait({waiting}, timeout=SOON)
            assert contents(await running) == contents(alone)

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("two_jobs_at_a_time")
    async def test_cancelling_the_running_job_does_not_disturb_the_waiting_one(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        job, _ = self.two_jobs()
        alone = await self.prepare_and_run(runtime, job)
        async with self.both_held(runtime, server, self.slow_job(), job) as (running, waiting):
            running.cancel()
            async with asyncio.timeout(SOON):
                assert contents(await waiting) == contents(alone)

    @pytest.mark.asyncio
    @pytest.mark.usefixtures("two_jobs_at_a_time")
    async def test_a_cancelled_waiting_job_is_not_worked_on_later(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        first, _ = self.two_jobs()
        async with self.both_held(runtime, server, first, self.slow_job()) as (running, waiting):
            waiting.cancel()
            await asyncio.wait({waiting}, timeout=SOON)
            await running
        await eventually(lambda: self.idle(server))

    @pytest.mark.asyncio
    async def test_a_server_killed_mid_run_is_unavailable(self) -> None:
        server = self.new_server()
        try:
            await asyncio.to_thread(server.start)
            async with self.opened(server.url) as runtime:
                await eventually(runtime.ready)
                async with self.running(runtime, self.slow_job()) as task:
                    await eventually(lambda: self.busy(server))
                    await asyncio.to_thread(server.kill)
                    with pytest.raises(Unavailable):
                        async with asyncio.timeout(SOON):
                            await task
        finally:
            await asyncio.to_thread(server.stop)

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
        if isinstance(fault, Oversized):
            assert not fault.swallowed, "the answer was read without a limit"

    @pytest.mark.asyncio
    async def test_a_slow_answer_is_waited_for(self, server: ServerProcess) -> None:
        job = self.jobs()[0]
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            prepared = await runtime.prepare(job, self.assets_for(runtime, job))
            held = Withhold()
            with proxy.fault(held):
                asked = proxy.count()
                async with _task_of(runtime, prepared) as task:
                    await eventually(lambda: proxy.count() > asked)
                    assert not task.done()
                    held.release()
                    async with asyncio.timeout(SOON):
                        assert (await task).artifacts

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


@contextlib.asynccontextmanager
async def _task_of(runtime: Runtime, prepared: Prepared) -> AsyncIterator[asyncio.Task[Output]]:
    task = asyncio.create_task(runtime.run(prepared, ignore))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def ignore(_: Progress) -> None:
    """A progress callback for tests that do not care."""


def contents(output: Output) -> list[bytes]:
    return [artifact.data for artifact in output.artifacts]


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
