"""A stream as the topic that jobs or notifications go to."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

from queue_agent.cloud import Ordering, Publication, Routing, Topic
from queue_agent.cloud.nats.addresses import NatsAddress
from queue_agent.cloud.nats.connection import Connection
from queue_agent.cloud.nats.listing import consumers
from queue_agent.cloud.nats.publishing import Publisher, publish
from queue_agent.cloud.nats.subjects import is_of_job, subject_of, text_of, urgent_subject_of
from queue_agent.cloud.nats.watching import watching
from queue_agent.tasks import together
from queue_agent.wire.errors import Unavailable

_HEADERS: Final = 4096
"""Bytes of a message that are left to its headers, but a quarter of the whole at most."""
_AT_ONCE: Final = 50


class NatsTopic(Topic):
    """https://docs.nats.io/nats-concepts/jetstream/streams"""

    def __init__(self, connection: Connection, address: NatsAddress, publisher: Publisher) -> None:
        self._connection = connection
        self._stream = address.stream
        self._publisher = publisher

    async def publish(
        self, body: str, attributes: Mapping[str, str], ordering: Ordering | None = None
    ) -> None:
        await self._connection.reach()  # which tells the limit
        if (size := Publication(body, attributes).size) > self.size_limit:
            raise Unavailable(
                f"Could not publish: it has {size} bytes; the limit is {self.size_limit}.",
                type="cloud_unavailable",
            )
        ordering = ordering or Ordering()
        urgent = urgent_subject_of(self._stream, attributes)
        if urgent and await self._publisher.publish_if_there(urgent, body, attributes, ordering):
            return
        subject = subject_of(self._stream, attributes)
        if is_of_job(attributes):
            await self._publisher.publish(subject, body, attributes, ordering)
        else:
            await publish(self._connection, subject, body, attributes, ordering)

    @property
    def size_limit(self) -> int:
        largest = self._connection.largest_payload
        return largest - min(_HEADERS, largest // 4)

    async def publish_many(self, publications: Sequence[Publication]) -> Mapping[int, str]:
        if not publications:
            return {}
        await self._connection.reach()
        failed: dict[int, str] = {}
        slots = asyncio.Semaphore(_AT_ONCE)

        async def publish_one(place: int, publication: Publication) -> None:
            async with slots:
                try:
                    await self.publish(
                        publication.body, publication.attributes, publication.ordering
                    )
                except Unavailable as error:
                    failed[place] = error.message

        await together(publish_one(place, one) for place, one in enumerate(publications))
        return failed

    async def check(self) -> None:
        async with self._connection.using("read the stream") as js:
            await js.stream_info(self._stream)

    async def reaches(self, queue_url: str, publication: Publication) -> bool:
        try:
            queue = NatsAddress.parse(queue_url)
        except ValueError:
            return False
        return queue.subject() == subject_of(self._stream, publication.attributes)

    async def routing(
        self, attribute: str, among: Mapping[str, str] | None = None
    ) -> Routing | None:
        if attribute != "runtime" or among:  # queues get jobs by their runtime alone
            return None
        filters = {
            one
            for config in await consumers(self._connection, self._stream)
            for one in (config.get("filter_subject"), *(config.get("filter_subjects") or ()))
        }
        values = [one.removeprefix(f"{self._stream}.") for one in filters if one]
        return Routing(frozenset(text_of(value) for value in values if "." not in value))

    def subscribe(
        self, filter_policy: Mapping[str, Sequence[str]] | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        return watching(self._connection, self._stream, filter_policy or {})
