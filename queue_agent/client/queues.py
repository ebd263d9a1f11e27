"""Reading queues that are somebody's: notifications that come by one, and dead letters."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Final

import structlog
from pydantic import ValidationError

from queue_agent.cloud import Message, Queue
from queue_agent.wire.errors import Malformed, QueueAgentError
from queue_agent.wire.job import open_envelope
from queue_agent.wire.message import asks
from queue_agent.wire.notification import Notification

log = structlog.get_logger()

_LONGEST_POLL: Final = 20.0


async def bodies_of(queue: Queue, url: str) -> AsyncIterator[str]:
    """What comes by the queue and asks for nothing, removed as it is read; jobs are left."""
    warned = False
    while True:
        for message in await queue.receive(10, wait=_LONGEST_POLL, visibility_timeout=30):
            if asks(message.body, message.attributes):
                if not warned:
                    log.warning("messages left", queue=url, reason="They are no notifications.")
                warned = True
                continue
            await queue.delete(message)
            yield _payload(message)


async def matching(
    bodies: AsyncIterator[str], wanted: Mapping[str, str | None]
) -> AsyncIterator[Notification]:
    """The notifications among them of the `id` and the `runtime` that are wanted."""
    async for body in bodies:
        try:
            notification = Notification.read(body)
        except ValidationError:
            continue  # somebody else's message on the same topic
        if wanted.get("id") in {None, notification.id} and wanted.get("runtime") in {
            None,
            notification.runtime,
        }:
            yield notification


async def redriven(
    source: Queue, target: Queue, wanted: Callable[[str], bool], limit: int | None
) -> AsyncGenerator[str]:
    """Move the messages that are wanted by their payloads, which are yielded, up to the limit."""
    sent, kept = 0, []
    try:
        while limit is None or sent < limit:
            messages = await source.receive(10, wait=1, visibility_timeout=60)
            if not messages:
                return
            for message in messages:
                payload = _payload(message)
                if (limit is not None and sent >= limit) or not wanted(payload):
                    kept.append(message)
                    continue
                await target.send(message.body, message.attributes, message.ordering)
                await source.delete(message)
                sent += 1
                yield payload
    finally:
        for message in kept:
            with suppress(QueueAgentError):  # it comes back by itself
                await source.extend(message, 0)


def _payload(message: Message) -> str:
    """What is in the message's envelope, or all of it where there is none."""
    try:
        return open_envelope(message.body, message.attributes).payload
    except Malformed:
        return message.body
