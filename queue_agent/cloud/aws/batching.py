"""Calls that come close together, sent as one."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from queue_agent.cloud import Linger
from queue_agent.wire.errors import QueueAgentError

T = TypeVar("T")
Outcomes = Sequence[QueueAgentError | None]

_MOST: Final = 10
"""Entries that SQS and SNS take in one call."""


class _Batch(Generic[T]):
    """The entries of one call to come, and its outcome."""

    def __init__(self, send: Callable[["_Batch[T]"], Coroutine[Any, Any, Outcomes]]) -> None:
        self.entries: list[T] = []
        self.weight = 0
        self.sent = asyncio.create_task(send(self))


@dataclass
class Batcher(Generic[T]):
    """Sends entries together that come within `linger` seconds; with 0, each by itself.

    `send` takes the entries of one call and gives an error, or None, for each. A call as a
    whole that raises has failed for all of them.
    """

    send: Callable[[Sequence[T]], Awaitable[Outcomes]]
    linger: Linger
    weigh: Callable[[T], int] = lambda _: 0
    capacity: int = 1
    """What the entries of one call may weigh together."""
    _open: _Batch[T] | None = field(default=None, init=False)

    async def add(self, entry: T) -> None:
        """Send one entry; returns when its call has succeeded.

        Raises:
            QueueAgentError: the entry, or the call it was part of, failed.
        """
        linger = self.linger() if callable(self.linger) else self.linger
        if not linger:
            (error,) = await self.send([entry])
        else:
            batch = self._batch_for(self.weigh(entry), linger)
            place = len(batch.entries)
            batch.entries.append(entry)
            error = (await asyncio.shield(batch.sent))[place]
        if error is not None:
            raise error

    def _batch_for(self, weight: int, linger: float) -> _Batch[T]:
        batch = self._open
        if (
            batch is None
            or len(batch.entries) == _MOST
            or (batch.entries and batch.weight + weight > self.capacity)
        ):
            batch = self._open = _Batch(lambda batch: self._send_soon(batch, linger))
        batch.weight += weight
        return batch

    async def _send_soon(self, batch: _Batch[T], linger: float) -> Outcomes:
        await asyncio.sleep(linger)
        if self._open is batch:
            self._open = None
        return await self.send(batch.entries)
