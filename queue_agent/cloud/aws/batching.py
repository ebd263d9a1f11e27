"""Calls that come close together, sent as one: what the ports promise, at fewer requests."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from queue_agent.cloud.aws.errors import Failures
from queue_agent.cloud.aws.limits import LARGEST_PUBLICATION, MOST_ENTRIES
from queue_agent.cloud.aws.sns import Clients, SnsTopic
from queue_agent.cloud.aws.sqs import Client, SqsQueue
from queue_agent.cloud.ports import Message
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.publication import Ordering, Publication

T = TypeVar("T")

_QUEUE_LINGER: Final = 0.1
"""Seconds that deletes and lease renewals may wait for each other: nobody waits for them."""
_TOPIC_LINGER: Final = 0.01
"""The same for notifications of jobs that end together."""
_TOPIC_CROWD: Final = 0.03
"""Seconds between two notifications below which the second waits as long for others."""


class _Batch(Generic[T]):
    """The entries of one call to come, and its outcome."""

    def __init__(self, send: Callable[["_Batch[T]"], Awaitable[Failures]]) -> None:
        self.entries: list[T] = []
        self.weight = 0
        self.sent = asyncio.ensure_future(send(self))
        self.sent.add_done_callback(_seen)


def _seen(sent: asyncio.Future[Failures]) -> None:
    """Whoever waited may be gone: what went wrong is then nobody's business."""
    if not sent.cancelled():
        sent.exception()


@dataclass
class Batcher(Generic[T]):
    """Sends entries together that come close to each other.

    While it is `active` an entry waits `linger` seconds for others. Otherwise one does that
    follows another within `crowd` seconds, and waits as long: at fewer a second than that,
    nothing waits.

    `one` sends an entry that stays alone. `many` takes several and gives an error, or None, for
    each. A call as a whole that raises has failed for all of them.
    """

    one: Callable[[T], Awaitable[None]]
    many: Callable[[Sequence[T]], Awaitable[Failures]]
    linger: float
    crowd: float = 0.0
    active: Callable[[], bool] = lambda: True
    weigh: Callable[[T], int] = lambda _: 0
    capacity: int = 1
    """What the entries of one call may weigh together."""
    _open: _Batch[T] | None = field(default=None, init=False)
    _latest: float = field(default=float("-inf"), init=False)

    async def add(self, entry: T) -> None:
        """Send one entry; returns when its call has succeeded.

        Raises:
            QueueAgentError: the entry, or the call it was part of, failed.
        """
        linger = self._linger()
        if not linger:
            await self.one(entry)
            return
        batch = self._batch_for(self.weigh(entry), linger)
        place = len(batch.entries)
        batch.entries.append(entry)
        error = (await asyncio.shield(batch.sent))[place]
        if error is not None:
            raise error

    def _linger(self) -> float:
        """Seconds that an entry may wait which comes now."""
        now, before = asyncio.get_running_loop().time(), self._latest
        self._latest = now
        if self.active():
            return self.linger
        return self.crowd if now < before + self.crowd else 0.0

    def _batch_for(self, weight: int, linger: float) -> _Batch[T]:
        batch = self._open
        if (
            batch is None
            or len(batch.entries) == MOST_ENTRIES
            or (batch.entries and batch.weight + weight > self.capacity)
        ):
            batch = self._open = _Batch(lambda batch: self._send_after(linger, batch))
        batch.weight += weight
        return batch

    async def _send_after(self, linger: float, batch: _Batch[T]) -> Failures:
        await asyncio.sleep(linger)
        if self._open is batch:
            self._open = None
        if len(batch.entries) > 1:
            return await self.many(batch.entries)
        await self.one(batch.entries[0])
        return [None]


class BatchingQueue(SqsQueue):
    """A queue whose deletes and extensions share requests, `active` or in a crowd."""

    def __init__(self, client: Client, url: str, active: Callable[[], bool]) -> None:
        super().__init__(client, url)
        self._deletes = Batcher(
            super().delete, self.delete_all, _QUEUE_LINGER, crowd=_QUEUE_LINGER, active=active
        )
        self._extensions = Batcher(
            self._extend_one, self.extend_all, _QUEUE_LINGER, crowd=_QUEUE_LINGER, active=active
        )

    async def extend(self, message: Message, seconds: float) -> None:
        await self._extensions.add((message, seconds))

    async def _extend_one(self, wanted: tuple[Message, float]) -> None:
        await super().extend(*wanted)

    async def delete(self, message: Message) -> None:
        await self._deletes.add(message)


class BatchingTopic(SnsTopic):
    """A topic whose publications share requests, `active` or in a crowd."""

    def __init__(self, client: Clients, arn: str, active: Callable[[], bool]) -> None:
        super().__init__(client, arn)
        self._publications = Batcher(
            self.publish_one,
            self._publish_several,
            _TOPIC_LINGER,
            crowd=_TOPIC_CROWD,
            active=active,
            weigh=lambda publication: publication.size,
            capacity=LARGEST_PUBLICATION,
        )

    async def publish(
        self, body: str, attributes: Mapping[str, str], ordering: Ordering | None = None
    ) -> None:
        await self._publications.add(Publication(body, attributes, ordering or Ordering()))

    async def _publish_several(self, publications: Sequence[Publication]) -> Failures:
        failed = await self.publish_many(publications)
        return [
            Unavailable(
                f"Could not publish to the topic: {failed[place]}", type="cloud_unavailable"
            )
            if place in failed
            else None
            for place in range(len(publications))
        ]
