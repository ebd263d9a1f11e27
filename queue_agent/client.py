"""For publishers and subscribers: publish jobs, follow their notifications, get the images."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import JsonValue, ValidationError

from queue_agent.cloud import Cloud
from queue_agent.job import Job, Metadata
from queue_agent.notification import Image, Notification

Content = dict[str, JsonValue]


class Client:
    """One job topic and the topic its notifications go to."""

    def __init__(
        self, cloud: Cloud, *, job_topic: str | None = None, notification_topic: str | None = None
    ) -> None:
        self._cloud = cloud
        self._job_topic = job_topic
        self._notification_topic = notification_topic

    async def submit(self, job: Job) -> None:
        """Publish a job; its `metadata.runtime` routes it.

        Raises:
            ValueError: the client knows no job topic.
            Unavailable: the topic does not take it.
        """
        if self._job_topic is None:
            raise ValueError("the client has no job topic")
        attributes = {"runtime": job.metadata.runtime} if job.metadata.runtime else {}
        body = job.model_dump_json(exclude_none=True, ensure_ascii=True)
        await self._cloud.topic(self._job_topic).publish(body, attributes)

    @asynccontextmanager
    async def notifications(
        self, *, job_id: str | None = None
    ) -> AsyncIterator[AsyncIterator[Notification]]:
        """Notifications published from now on, of one job or of all.

        Listens through a queue and subscription of its own, removed at the block's end.
        """
        if self._notification_topic is None:
            raise ValueError("the client has no notification topic")
        wanted = {"id": [job_id]} if job_id else None
        topic = self._cloud.topic(self._notification_topic)
        async with topic.subscribe(wanted) as bodies:
            yield _read(bodies)

    async def download(self, image: Image) -> bytes:
        """The bytes of a stored image."""
        bucket, _, key = image.url.removeprefix("s3://").partition("/")
        return await self._cloud.bucket(bucket).read(key)


def make_job(
    content: Content, *, runtime: str | None, task_type: str, job_id: str | None = None
) -> Job:
    """A job with a new id unless one is given."""
    metadata = Metadata(id=job_id or secrets.token_hex(8), runtime=runtime, tasktype=task_type)
    return Job(metadata=metadata, content=content)


async def _read(bodies: AsyncIterator[str]) -> AsyncIterator[Notification]:
    async for body in bodies:
        try:
            yield Notification.read(body)
        except ValidationError:
            continue  # somebody else's message on the same topic
