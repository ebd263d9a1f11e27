"""The same client for programs that are not asynchronous: each call waits for its end.

The work happens in an event loop of its own thread, which ends with the client.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from queue_agent.client.client import Client
from queue_agent.client.handle import SubmittedJob
from queue_agent.wire.estimate import JobEstimate
from queue_agent.wire.job import Job
from queue_agent.wire.layout import DEFAULT_PREFIX
from queue_agent.wire.notification import Notification
from queue_agent.wire.result import Result

T = TypeVar("T")


class SyncJob:
    """`SubmittedJob`, blocking."""

    def __init__(self, portal: BlockingPortal, job: SubmittedJob) -> None:
        self._portal = portal
        self._job = job
        self.id = job.id
        self.estimate = job.estimate
        """What was expected when it was submitted, if that was asked for."""

    def events(self) -> Iterator[Notification]:
        """Progress as it comes, then the final notification."""
        return _iterate(self._portal, self._job.events())

    def find(self) -> Result | None:
        """The result if the job is finished, without waiting."""
        return self._portal.call(self._job.find)

    def result(self, *, timeout: float | None = None) -> Result:
        """The result; waits for the end, at most `timeout` seconds.

        Raises like `SubmittedJob.result`, and:
            TimeoutError: the job has not ended within `timeout`.
        """
        return self._portal.call(partial(_within, timeout, self._job.result))

    def images(self, *, timeout: float | None = None) -> list[bytes]:
        """The files made; waits for the end. Raises like `SubmittedJob.images`."""
        return self._portal.call(partial(_within, timeout, self._job.images))

    def save(self, folder: str | Path, *, timeout: float | None = None) -> list[Path]:
        """Write the files made into the folder. Raises like `SubmittedJob.save`."""
        return self._portal.call(partial(_within, timeout, partial(self._job.save, folder)))

    def cancel(self) -> None:
        """Ask for the job to be given up."""
        self._portal.call(self._job.cancel)


class SyncClient:
    """`Client`, blocking; a context manager."""

    def __init__(self, make: Callable[[], Client]) -> None:
        """`make` builds the client; it is called in the thread that will use it."""
        self._make = make
        self._stack = ExitStack()

    @classmethod
    def from_env(cls, given: Mapping[str, str | None] | None = None) -> Self:
        """A client of the deployment that the environment names; see `Client.from_env`."""
        return cls(partial(Client.from_env, given))

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal())
            client = self._portal.call(self._make)
            self._client = stack.enter_context(self._portal.wrap_async_context_manager(client))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(exc_type, exc, traceback)

    def submit(self, request: Job | str | None = None, **options: Any) -> SyncJob:
        """Publish a job; takes and raises what `Client.submit` does."""
        job = self._portal.call(partial(self._client.submit, request, **options))
        return SyncJob(self._portal, job)

    def estimate(self, job: Job) -> JobEstimate:
        """What would be expected of a job; raises like `Client.estimate`."""
        return self._portal.call(self._client.estimate, job)

    def submit_many(self, jobs: Iterable[Job]) -> list[SyncJob]:
        """Publish many jobs in few requests; raises like `Client.submit_many`."""
        submitted = self._portal.call(self._client.submit_many, jobs)
        return [SyncJob(self._portal, job) for job in submitted]

    def job(self, job_id: str, *, prefix: str = DEFAULT_PREFIX) -> SyncJob:
        """A handle for a job submitted at any time, by anyone."""
        return SyncJob(self._portal, self._client.job(job_id, prefix=prefix))

    def cancel(self, job_id: str) -> None:
        """Ask for a job to be given up."""
        self._portal.call(self._client.cancel, job_id)

    @contextmanager
    def notifications(
        self, *, job_id: str | None = None, runtime: str | None = None, queue: str | None = None
    ) -> Iterator[Iterator[Notification]]:
        """Notifications published from now on; see `Client.notifications`."""
        manager = self._client.notifications(job_id=job_id, runtime=runtime, queue=queue)
        with self._portal.wrap_async_context_manager(manager) as notifications:
            yield _iterate(self._portal, notifications)


async def _within(seconds: float | None, action: Callable[[], Awaitable[T]]) -> T:
    async with asyncio.timeout(seconds):
        return await action()


def _iterate(portal: BlockingPortal, items: AsyncIterator[Notification]) -> Iterator[Notification]:
    async def step() -> Notification | None:
        return await anext(items, None)

    while (item := portal.call(step)) is not None:
        yield item
