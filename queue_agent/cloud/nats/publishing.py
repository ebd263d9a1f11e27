"""Messages to a stream, each taken once within the stream's window for duplicates."""

import time
from collections.abc import Callable, Mapping
from typing import Final

from nats.errors import MaxPayloadError

from queue_agent.cloud.nats.connection import Connection
from queue_agent.cloud.nats.subjects import TENANT, header, headers_of, tenants_subject
from queue_agent.cloud.refusals import reason_of
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.publication import Ordering

MESSAGE_ID: Final = "Nats-Msg-Id"
"""https://docs.nats.io/using-nats/developer/develop_jetstream/model_deep_dive#message-deduplication"""

_ABSENT: Final = 60.0
"""Seconds for which no stream is looked for again where none took a subject."""
_VERSION_LINE: Final = len("NATS/1.0\r\n\r\n")
_SEPARATORS: Final = len(": \r\n")


async def publish(
    connection: Connection,
    subject: str,
    body: str,
    attributes: Mapping[str, str],
    ordering: Ordering,
) -> None:
    """Publish, and wait until the stream has it.

    Raises:
        Unanswered: it may have been taken; `Unavailable` of other kinds: it was not.
    """
    headers = headers_of(attributes) | {MESSAGE_ID: ordering.deduplication_id}
    if ordering.tenant:
        headers[TENANT] = header(ordering.tenant)
    data = body.encode()
    async with connection.using("publish") as js:
        if not fits(connection, data, headers):
            raise MaxPayloadError  # else the servers would end the connection
        await js.publish(subject, data, headers=headers)


class Publisher:
    """Publishes to queues by their subjects; each cloud has one."""

    def __init__(self, connection: Connection, clock: Callable[[], float] = time.monotonic) -> None:
        self._connection = connection
        self._clock = clock
        self._absent: dict[str, float] = {}
        """Until when subjects count as nobody's."""

    async def publish(
        self, queue: str, body: str, attributes: Mapping[str, str], ordering: Ordering
    ) -> None:
        """To the place of its tenant there, if the queue is fair; raises as `publish`."""
        if not await self._to_its_tenant(queue, body, attributes, ordering):
            await publish(self._connection, queue, body, attributes, ordering)

    async def publish_if_there(
        self, queue: str, body: str, attributes: Mapping[str, str], ordering: Ordering
    ) -> bool:
        """The same, if there is such a queue; whether there is."""
        return await self._to_its_tenant(queue, body, attributes, ordering) or await self._taken(
            queue, queue, body, attributes, ordering
        )

    async def _to_its_tenant(
        self, queue: str, body: str, attributes: Mapping[str, str], ordering: Ordering
    ) -> bool:
        if not ordering.tenant:
            return False
        subject = tenants_subject(queue, ordering.tenant)
        return await self._taken(tenants_subject(queue), subject, body, attributes, ordering)

    async def _taken(
        self,
        place: str,
        subject: str,
        body: str,
        attributes: Mapping[str, str],
        ordering: Ordering,
    ) -> bool:
        """Whether a stream takes what is published in that place, as far as is known."""
        if self._clock() < self._absent.get(place, 0.0):
            return False
        try:
            await publish(self._connection, subject, body, attributes, ordering)
        except Unavailable as error:
            if reason_of(error) != "not_found":
                raise
            self._absent[place] = self._clock() + _ABSENT
            return False
        return True


def fits(connection: Connection, data: bytes, headers: Mapping[str, str]) -> bool:
    """Whether the servers take so large a message, whose headers count."""
    lines = (len(name.encode()) + len(value.encode()) for name, value in headers.items())
    size = len(data) + _VERSION_LINE + sum(_SEPARATORS + line for line in lines)
    return size <= connection.largest_payload
