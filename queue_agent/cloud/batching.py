"""Calls that come close together, sent as one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from queue_agent.errors import QueueAgentError

T = TypeVar("T")

_MOST: Final = 10
"""Entries that SQS and SNS take in one call."""


@dataclass
class Batcher(Generic[T]):
    """Sends entries together that come within `linger` seconds; with 0, each by itself.

    `send` takes the entries of one call and gives an error, or None, for each. A call as a
    whole that raises has failed for all of them.
    """

    send: Callable[[Sequence[T]], Awaitable[Sequence[QueueAgentError | None]]]
    linger: float
    weigh: Callable[[T], int] = lambda _: 0
    capacity: int = 1
    """What the entries of one call may weigh together."""
    _waiting: list[tuple[T, asyncio.Future[None]]] = field(default_factory=list, init=False)
    _senders: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    async def add(self, entry: T) -> None:
        """Send one entry; returns when its call has succeeded.

        Raises:
            QueueAgentError: the entry, or the call it was part of, failed.
        """
        if not self.linger:
            (error,) = await self.send([entry])
            if error is not None:
                raise error
            return
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, sent))
        if len(self._waiting) == 1:
            sender = asyncio.create_task(self._send_soon())
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)
        await sent

    async def _send_soon(self) -> None:
        await asyncio.sleep(self.linger)
        waiting, self._waiting = self._waiting, []
        while waiting:
            count = self._fitting([entry for entry, _ in waiting])
            await self._send_now(waiting[:count])
            waiting = waiting[count:]

    def _fitting(self, entries: Sequence[T]) -> int:
        weight = count = 0
        for entry in entries[:_MOST]:
            weight += self.weigh(entry)
            if count and weight > self.capacity:
                break
            count += 1
        return count

    async def _send_now(self, batch: Sequence[tuple[T, asyncio.Future[None]]]) -> None:
        try:
            errors = await self.send([entry for entry, _ in batch])
        except QueueAgentError as error:
            errors = [error] * len(batch)
        for (_, sent), failure in zip(batch, errors, strict=True):
            if sent.done():  # its caller was cancelled
                continue
            if failure is None:
                sent.set_result(None)
            else:
                sent.set_exception(failure)
