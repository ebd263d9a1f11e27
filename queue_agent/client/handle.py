"""One job, as its publisher or anyone who knows its id sees it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Protocol

from queue_agent.client.results import ResultLocation
from queue_agent.client.traces import Trace
from queue_agent.tasks import together
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.estimate import JobEstimate
from queue_agent.wire.notification import Image, Notification
from queue_agent.wire.result import Result


class JobFailed(QueueAgentError):
    """The job ended without images; `ending` says how and why."""

    default_type = "job_failed"

    def __init__(self, ending: Notification) -> None:
        reason = ending.error.message if ending.error else ""
        super().__init__(
            f"The job {ending.id} ended as {ending.status}. {reason}".strip(),
            type=ending.error.type if ending.error else None,
        )
        self.ending = ending


class _Jobs(Protocol):
    """What a handle needs of its client."""

    def follow(self, place: ResultLocation) -> AsyncGenerator[Notification]: ...
    async def find(self, place: ResultLocation) -> Result | None: ...
    async def trace(self, place: ResultLocation) -> Trace: ...
    async def cancel(self, job_id: str) -> None: ...
    async def download(self, image: Image) -> bytes: ...


class SubmittedJob:
    """A handle; it holds no state but the id, so any number of them may be used anywhere."""

    def __init__(
        self, jobs: _Jobs, place: ResultLocation, estimate: JobEstimate | None = None
    ) -> None:
        self._jobs = jobs
        self._place = place
        self.id = place.id
        self.estimate = estimate
        """What was expected when it was submitted, if that was asked for."""

    def __repr__(self) -> str:
        return f"SubmittedJob({self.id!r})"

    def events(self) -> AsyncGenerator[Notification]:
        """Progress (`status` "running") as it comes, then the final notification.

        The end is never missed: where the notification is lost, the bucket is asked. Progress
        is only heard where agents are set to publish it.
        """
        return self._jobs.follow(self._place)

    def ended_by(self, news: Notification) -> bool:
        """Whether a notification tells of this job's end, not of another content's by its id."""
        return self._place.ends_by(news)

    async def find(self) -> Result | None:
        """The result if the job is finished, without waiting."""
        return await self._jobs.find(self._place)

    async def trace(self) -> Trace:
        """What is seen in the bucket of the job, while it has no result."""
        return await self._jobs.trace(self._place)

    async def result(self) -> Result:
        """The result; waits for the end, for as long as `asyncio.timeout` lets it.

        Works at any time and from any process, long after the job has ended too.

        Raises:
            JobFailed: the job ended, but left no result in the bucket.
        """
        if (found := await self.find()) is not None:
            return found
        async with aclosing(self.events()) as events:
            async for event in events:
                ending = event
        found = await self.find()
        if found is None:
            raise JobFailed(ending)
        return found

    async def images(self) -> list[bytes]:
        """The files made, in order; waits for the end.

        Raises:
            JobFailed: the job ended without images.
        """
        result = await self._completed()
        return await together(self._jobs.download(image) for image in result.made)

    async def save(self, folder: str | Path) -> list[Path]:
        """Write the files made into the folder under their own names; waits for the end.

        Raises:
            JobFailed: the job ended without images.
        """
        result = await self._completed()
        return await save_images(self._jobs, result, Path(folder))

    async def cancel(self) -> None:
        """Ask for the job to be given up; an agent that works on it stops within seconds."""
        await self._jobs.cancel(self.id)

    async def _completed(self) -> Result:
        result = await self.result()
        if not result.result:
            raise JobFailed(result)
        return result


class Downloads(Protocol):
    async def download(self, image: Image) -> bytes: ...


async def save_images(source: Downloads, ending: Notification, folder: Path) -> list[Path]:
    """Download a finished job's files into the folder, which is made if needed; where they are."""
    files = await together(source.download(image) for image in ending.made)
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    paths = [folder / image.url.rpartition("/")[2] for image in ending.made]
    for path, data in zip(paths, files, strict=True):
        await asyncio.to_thread(path.write_bytes, data)
    return paths
