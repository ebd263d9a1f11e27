"""What the contract asks of an adapter's author, and how its tests drive adapter and server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import ClassVar, Final

import pytest
import pytest_asyncio

from queue_agent.runtime import (
    Asset,
    Assets,
    Output,
    Prepared,
    Progress,
    ProgressCallback,
    Runtime,
    RuntimeOptions,
)
from queue_agent.testing.process import ServerProcess
from queue_agent.testing.samples import sample_png
from queue_agent.testing.waiting import eventually
from queue_agent.wire.job import Job

_LENGTHS: Final = (1.0, 4.0, 16.0)
"""Seconds of jobs that are to be met by another, tried one after another."""


class RuntimeHooks:
    """Says of one adapter and its server what tests must know, and drives the two."""

    adapter: ClassVar[type[Runtime]]
    takes_two_jobs: ClassVar[bool] = True
    """Whether the server takes a second job while it works on one, at its side or in a queue.

    Where it does not, the tests of two jobs at a time are skipped, and `concurrency` and
    `backlog` of the adapter must say so.
    """

    stops_cancelled: ClassVar[bool] = True
    """Whether the server can be told to stop a run.

    Where it cannot, the tests that it does are skipped, `Runtime.still_runs` must not say that
    the run is over while it is not, and `end_work` is how the tests get a free server again.
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

    def two_jobs(self, seconds: float = 1.0) -> tuple[Job, Job]:
        """Two jobs that keep the server busy for about so long each.

        Each gives the same artifacts whenever it is run (fix the seed), and other ones than
        the other job. More than a second is asked for where the machine is so slow that the
        first would be over before the second reaches the server.
        """
        raise NotImplementedError

    def bad_job(self) -> tuple[Job, str]:
        """A job that the server refuses with a 4xx status, and some words of its answer."""
        raise NotImplementedError

    def job_with_references(self) -> tuple[Job, set[str]]:
        """A job with URLs in the fields that hold media *and* in its prompts.

        A prompt should begin with ``http``. The set holds the URLs that are references. The job
        must run once they have been replaced by images.
        """
        raise NotImplementedError

    async def jobs_held(self, server: ServerProcess) -> int:
        """How many jobs the server works on or has waiting; asked of the server itself."""
        raise NotImplementedError

    async def end_work(self, server: ServerProcess) -> None:
        """End what the server still works on, where it does not stop what was cancelled.

        By a way that its API does not have; called again and again until it is free.
        """
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
        """Whether the server has nothing to do, once what nobody waits for any more is ended."""
        if not await self.busy(server):
            return True
        if not self.stops_cancelled:
            await self.end_work(server)
        return False

    @contextlib.asynccontextmanager
    async def running(self, runtime: Runtime, job: Job) -> AsyncIterator[asyncio.Task[Output]]:
        """The job under way in a task that is cancelled at the end, if it still runs."""
        prepared = await runtime.prepare(job, self.assets_for(runtime, job))
        async with task_of(runtime, prepared) as task:
            yield task

    @contextlib.asynccontextmanager
    async def both_held(
        self,
        runtime: Runtime,
        server: ServerProcess,
        jobs: Callable[[float], tuple[Job, Job]],
    ) -> AsyncIterator[tuple[asyncio.Task[Output], asyncio.Task[Output], Job, Job]]:
        """Two jobs that the server holds at the same time, the second sent when it has the first.

        Where one is over before that is seen, longer ones are tried: `jobs` are those of about
        so many seconds.
        """
        for seconds in _LENGTHS:
            first, second = jobs(seconds)
            async with self.running(runtime, first) as running:
                await self._until_held(server, 1, running)
                async with self.running(runtime, second) as waiting:
                    await self._until_held(server, 2, running, waiting)
                    if not (running.done() or waiting.done()):
                        yield running, waiting, first, second
                        return
                for ended in (running, waiting):
                    if ended.done() and not ended.cancelled():
                        ended.result()
            await eventually(lambda: self.idle(server))
        pytest.fail("The server was never seen with two jobs: make them longer.")

    async def _until_held(
        self, server: ServerProcess, count: int, *tasks: asyncio.Task[Output]
    ) -> None:
        """Wait until the server holds so many jobs, or one of them is over."""

        async def held() -> bool:
            return any(task.done() for task in tasks) or await self.jobs_held(server) >= count

        await eventually(held)

    @pytest.fixture
    def two_jobs_at_a_time(self) -> None:
        """For tests that need a server that takes them."""
        if not self.takes_two_jobs:
            pytest.skip("the server takes one job at a time")

    @pytest.fixture
    def cancelling_stops_the_server(self) -> None:
        """For tests that need a server that can be told to stop."""
        if not self.stops_cancelled:
            pytest.skip("the server cannot be told to stop a run")


def ignore(_: Progress) -> None:
    """A progress callback for tests that do not care."""


def with_previews(job: Job) -> Job:
    """The same job, which asks for previews."""
    metadata = job.metadata.model_copy(update={"previews": True})
    return job.model_copy(update={"metadata": metadata})


@contextlib.asynccontextmanager
async def task_of(
    runtime: Runtime, prepared: Prepared, progress: ProgressCallback = ignore
) -> AsyncIterator[asyncio.Task[Output]]:
    """The run in a task that is cancelled at the end, if it still runs."""
    task = asyncio.create_task(runtime.run(prepared, progress))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def contents(output: Output) -> list[bytes]:
    return [artifact.data for artifact in output.artifacts]
