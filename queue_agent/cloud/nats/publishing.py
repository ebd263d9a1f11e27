"""Messages to a stream, each taken once within the stream's window for duplicates."""

from collections.abc import Mapping
from typing import Final

from nats.errors import MaxPayloadError

from queue_agent.cloud.nats.connection import Connection
from queue_agent.cloud.nats.subjects import headers_of
from queue_agent.wire.publication import Ordering

MESSAGE_ID: Final = "Nats-Msg-Id"
"""https://docs.nats.io/using-nats/developer/develop_jetstream/model_deep_dive#message-deduplication"""

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
    data = body.encode()
    async with connection.using("publish") as js:
        if len(data) + _size(headers) > connection.largest_payload:
            raise MaxPayloadError  # else the servers would end the connection
        await js.publish(subject, data, headers=headers)


def _size(headers: Mapping[str, str]) -> int:
    """Bytes of the headers, which count towards a message's."""
    lines = (len(name.encode()) + len(value.encode()) for name, value in headers.items())
    return _VERSION_LINE + sum(_SEPARATORS + line for line in lines)
