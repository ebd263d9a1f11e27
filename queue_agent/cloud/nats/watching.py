"""What is published to a stream from now on, by a consumer made for it that keeps nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy

from queue_agent.cloud.nats.connection import Connection
from queue_agent.cloud.nats.pulling import pull
from queue_agent.cloud.nats.subjects import Filter, attributes_of, lets_through, subjects_of
from queue_agent.cloud.nats.turns import SENT
from queue_agent.wire.errors import QueueAgentError, Unanswered, Unavailable

log = structlog.get_logger()

_LEFT_ALONE: Final = 60.0
"""Seconds after which the servers remove a consumer that nobody asks."""
_AT_ONCE: Final = 100
_POLL: Final = 20.0
_PAUSE: Final = 1.0
_OUTAGE: Final = 60.0
"""Seconds for which an outage is waited out; what is published meanwhile comes afterwards."""


@asynccontextmanager
async def watching(
    connection: Connection, stream: str, wanted: Filter
) -> AsyncIterator[AsyncIterator[str]]:
    """The bodies of what the filter lets through, as an endless iterator.

    Of a stream that keeps messages for its consumers, each for one, only what is published
    while the connection lasts is seen, by the subjects themselves.
    """
    async with connection.using("read the stream") as js:
        info = await js.stream_info(stream)
    if info.config.retention == RetentionPolicy.WORK_QUEUE:
        async with _overhearing(connection, stream, wanted) as bodies:
            yield bodies
        return
    watch = _Watch(connection, stream, wanted)
    await watch.begin()
    try:
        yield watch.bodies()
    finally:
        with suppress(QueueAgentError):
            await asyncio.shield(watch.end())


class _Watch:
    """A place in a stream, and the consumer that goes on from there."""

    def __init__(self, connection: Connection, stream: str, wanted: Filter) -> None:
        self._connection = connection
        self._stream = stream
        self._wanted = wanted
        self._consumer = ""
        self._last: int | None = None
        """Of the messages seen, by their numbers in the stream."""

    async def begin(self) -> None:
        """Make a consumer, of what comes after the last message seen."""
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.NEW,
            ack_policy=AckPolicy.NONE,
            filter_subjects=subjects_of(self._stream, self._wanted),
            inactive_threshold=_LEFT_ALONE,
            mem_storage=True,
            num_replicas=1,
        )
        if self._last is not None:
            config.deliver_policy = DeliverPolicy.BY_START_SEQUENCE
            config.opt_start_seq = self._last + 1
        async with self._connection.using("make a consumer to listen with") as js:
            made = await js.add_consumer(self._stream, config)
        self._consumer = made.name
        if self._last is None:
            self._last = made.delivered.stream_seq if made.delivered else 0

    async def end(self) -> None:
        async with self._connection.using("remove the consumer listened with") as js:
            await js.delete_consumer(self._stream, self._consumer)

    async def bodies(self) -> AsyncIterator[str]:
        while True:
            for message in await self._next():
                self._last = message.metadata.sequence.stream
                if lets_through(self._wanted, attributes_of(message.headers)):
                    yield message.data.decode(errors="replace")

    async def _next(self) -> list[Msg]:
        """What comes next; after an outage from where it was, by another consumer."""
        loop = asyncio.get_running_loop()
        broken: float | None = None
        while True:
            begun = False
            try:
                if broken is not None:
                    await self.begin()
                    begun = True
                return await pull(
                    self._connection, self._stream, self._consumer, _AT_ONCE, wait=_POLL
                )
            except Unavailable as error:
                if broken is None or (begun and isinstance(error, Unanswered)):  # another outage
                    broken = loop.time()
                    log.info("listening anew", reason=error.message)
                if loop.time() - broken > _OUTAGE:
                    raise
            await asyncio.sleep(_PAUSE)


@asynccontextmanager
async def _overhearing(
    connection: Connection, stream: str, wanted: Filter
) -> AsyncIterator[AsyncIterator[str]]:
    arrived: asyncio.Queue[Msg] = asyncio.Queue()

    async def arrive(message: Msg) -> None:
        arrived.put_nowait(message)

    async with connection.exchange("listen to subjects") as client:
        subscriptions = [
            await client.subscribe(subject, cb=arrive) for subject in subjects_of(stream, wanted)
        ]
        await client.flush()

    async def bodies() -> AsyncIterator[str]:
        while True:
            async with connection.exchange("listen to subjects", seconds=None):
                message = await arrived.get()
            is_copy = SENT in (message.headers or {})
            if not is_copy and lets_through(wanted, attributes_of(message.headers)):
                yield message.data.decode(errors="replace")

    try:
        yield bodies()
    finally:
        with suppress(QueueAgentError):
            async with connection.exchange("listen no more"):
                for subscription in subscriptions:
                    await subscription.unsubscribe()
