"""The promises of an adapter, one test each; every adapter passes them.

    class TestMyRuntime(RuntimeContract):
        adapter = MyRuntime

        @classmethod
        def new_server(cls) -> ServerProcess:
            return ServerProcess([sys.executable, "-m", "my_fake", "--port", "{port}"])

        def jobs(self): ...  # and the other hooks below

Every hook that raises `NotImplementedError` here is to be overridden. The server may be the
real one or a fake that refuses what the real one refuses.
"""

import asyncio
import contextlib
import io
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from copy import copy
from typing import BinaryIO, ClassVar, Final

import pytest
import pytest_asyncio
from PIL import Image

from queue_agent.runtime import Asset, Assets, Output, Progress, Runtime, RuntimeOptions
from queue_agent.testing.fault_proxy import (
    BlackHole,
    Delay,
    Fault,
    FaultProxy,
    LoseAnswer,
    Oversized,
    Request,
    Reset,
    Status,
    Truncate,
)
from queue_agent.testing.process import ServerProcess
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.job import Job

SOON: Final = 15.0
"""Seconds within which what must happen at once has happened, however busy the machine."""

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


class RuntimeContract:
    """Tests that any adapter must pass; subclass it and override the hooks."""

    adapter: ClassVar[type[Runtime]]

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
        """A job that keeps the server busy for at least 30 s unless it is stopped."""
        raise NotImplementedError

    def two_jobs(self) -> tuple[Job, Job]:
        """Two jobs of about a second each.

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

    async def busy(self, server: ServerProcess) -> bool:
        """Whether the server works on a job or has one waiting; asked of the server itself."""
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
        await eventually(lambda: self._idle(server))

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

    async def _idle(self, server: ServerProcess) -> bool:
        return not await self.busy(server)

    @contextlib.asynccontextmanager
    async def _running(self, runtime: Runtime, job: Job) -> AsyncIterator[asyncio.Task[Output]]:
        """The job under way in a task that is cancelled at the end, if it still runs."""
        prepared = await runtime.prepare(job, self.assets_for(runtime, job))
        task = asyncio.create_task(runtime.run(prepared, ignore))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

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
                await eventually(runtime.ready, seconds=60)
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
        async with self._running(runtime, self.slow_job()) as task:
            await eventually(lambda: self.busy(server))
            task.cancel()
            await asyncio.wait({task}, timeout=SOON)
            assert task.cancelled()
            await eventually(lambda: self._idle(server))
        output = await self.prepare_and_run(runtime, self.jobs()[0])
        assert output.artifacts, "the runtime works on after a cancelled job"

    @pytest.mark.asyncio
    async def test_cancelling_a_job_before_the_server_has_it_leaves_nothing_behind(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        async with self._running(runtime, self.slow_job()) as task:
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task}, timeout=SOON)
            assert task.cancelled()
        await eventually(lambda: self._idle(server))

    @pytest.mark.asyncio
    async def test_two_jobs_at_once_give_each_its_own_outputs(self, runtime: Runtime) -> None:
        first, second = self.two_jobs()
        alone = [await self.prepare_and_run(runtime, job) for job in (first, second)]
        assert contents(alone[0]) != contents(alone[1])
        together = await asyncio.gather(
            self.prepare_and_run(runtime, first), self.prepare_and_run(runtime, second)
        )
        assert [contents(output) for output in together] == [contents(output) for output in alone]

    @pytest.mark.asyncio
    async def test_cancelling_a_waiting_job_does_not_disturb_the_running_one(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        job, other = self.two_jobs()
        alone = await self.prepare_and_run(runtime, job)
        async with self._running(runtime, job) as running:
            await eventually(lambda: self.busy(server))
            async with self._running(runtime, other) as waiting:
                await asyncio.wait({waiting}, timeout=0.2)
                waiting.cancel()
                await asyncio.wait({waiting}, timeout=SOON)
            assert contents(await running) == contents(alone)

    @pytest.mark.asyncio
    async def test_cancelling_the_running_job_does_not_disturb_the_waiting_one(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        job, _ = self.two_jobs()
        alone = await self.prepare_and_run(runtime, job)
        async with self._running(runtime, self.slow_job()) as running:
            await eventually(lambda: self.busy(server))
            async with self._running(runtime, job) as waiting:
                await asyncio.wait({waiting}, timeout=0.2)
                running.cancel()
                async with asyncio.timeout(2 * SOON):
                    assert contents(await waiting) == contents(alone)

    @pytest.mark.asyncio
    async def test_a_cancelled_waiting_job_is_not_worked_on_later(
        self, runtime: Runtime, server: ServerProcess
    ) -> None:
        first, _ = self.two_jobs()
        async with self._running(runtime, first) as running:
            await eventually(lambda: self.busy(server))
            async with self._running(runtime, self.slow_job()) as waiting:
                await asyncio.wait({waiting}, timeout=0.2)
                waiting.cancel()
            await running
        await eventually(lambda: self._idle(server))

    @pytest.mark.asyncio
    async def test_a_server_killed_mid_run_is_unavailable(self) -> None:
        server = self.new_server()
        try:
            await asyncio.to_thread(server.start)
            async with self.opened(server.url) as runtime:
                await eventually(runtime.ready, seconds=60)
                async with self._running(runtime, self.slow_job()) as task:
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
                async with asyncio.timeout(2 * SOON):
                    await runtime.run(prepared, ignore)
        if isinstance(fault, Oversized):
            assert not fault.swallowed, "the answer was read without a limit"

    @pytest.mark.asyncio
    async def test_a_slow_answer_is_waited_for(self, server: ServerProcess) -> None:
        job = self.jobs()[0]
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            prepared = await runtime.prepare(job, self.assets_for(runtime, job))
            with proxy.fault(Delay(1.0)):
                assert (await runtime.run(prepared, ignore)).artifacts

    @pytest.mark.asyncio
    async def test_a_run_that_gets_no_answer_can_be_cancelled(self, server: ServerProcess) -> None:
        job = self.jobs()[0]
        async with FaultProxy(server.url) as proxy, self.opened(proxy.url) as runtime:
            prepared = await runtime.prepare(job, self.assets_for(runtime, job))
            with proxy.fault(BlackHole()):
                task = asyncio.create_task(runtime.run(prepared, ignore))
                await eventually(lambda: proxy.count() > 0)
                task.cancel()
                done, _ = await asyncio.wait({task}, timeout=2 * SOON)
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
            async with self._running(runtime, self.slow_job()):
                await eventually(lambda: self.busy(server))
        await eventually(lambda: asyncio.all_tasks() <= tasks)
        await eventually(lambda: open_sockets() <= sockets)
        await eventually(lambda: self._idle(server))


def ignore(_: Progress) -> None:
    """A progress callback for tests that do not care."""


def contents(output: Output) -> list[bytes]:
    return [artifact.data for artifact in output.artifacts]


def sample_png(width: int = 64, height: int = 64) -> bytes:
    """A small picture: a diagonal gradient."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


@contextlib.contextmanager
def in_a_file(data: bytes) -> Iterator[BinaryIO]:
    """What large inputs are handed over in: a file without a name."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        yield file


def open_sockets() -> int:
    """How many sockets this process has open."""
    return sum(map(_is_socket, os.listdir("/dev/fd")))  # noqa: PTH208  numbers, not paths


def _is_socket(descriptor: str) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(int(descriptor)).st_mode)
    except OSError:
        return False


async def eventually(
    condition: Callable[[], Awaitable[bool] | bool], seconds: float = SOON
) -> None:
    """Wait until the condition holds; fails when it does not within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            while not await _holds(condition):  # noqa: ASYNC110  other processes set no events
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {condition}") from None


async def _holds(condition: Callable[[], Awaitable[bool] | bool]) -> bool:
    answer = condition()
    return answer if isinstance(answer, bool) else await answer


def _is_plain_http(request: Request) -> bool:
    """Not the beginning of a WebSocket, whose library reads the answer by its own rules."""
    return "upgrade" not in request.headers
