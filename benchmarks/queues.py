"""Queues in memory that keep SQS's promises: visibility timeouts, receive counts, long polls."""

import asyncio
import hashlib
import itertools
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

Clock = Callable[[], float]


@dataclass(eq=False)
class QueuedMessage:
    """One message, waiting or in flight."""

    body: str
    id: str = field(default_factory=lambda: str(uuid4()))
    sent: float = field(default_factory=time.time)
    receives: int = 0
    receipt: str = ""
    timer: asyncio.TimerHandle | None = None

    @property
    def md5(self) -> str:
        return hashlib.md5(self.body.encode(), usedforsecurity=False).hexdigest()


class EmulatedQueue:
    """One queue; the newest receipt of a message is the one that counts."""

    def __init__(self) -> None:
        self._visible: deque[QueuedMessage] = deque()
        self._in_flight: dict[str, QueuedMessage] = {}
        self._pollers: deque[asyncio.Future[None]] = deque()
        self._receipts = itertools.count()
        self._empty = asyncio.Event()
        self._empty.set()
        self.depths: list[tuple[float, int]] = []
        """How many messages were visible from when on, by the monotonic clock."""

    def send(self, *bodies: str) -> list[QueuedMessage]:
        messages = [QueuedMessage(body) for body in bodies]
        if messages:
            self._empty.clear()
            self._visible.extend(messages)
            self._changed()
        return messages

    async def receive(self, count: int, *, wait: float, visibility: float) -> list[QueuedMessage]:
        """Up to `count` messages; waits up to `wait` seconds for the first."""
        deadline = time.monotonic() + wait
        while not self._visible:
            if (left := deadline - time.monotonic()) <= 0:
                return []
            await self._poll(left)
        taken = [self._visible.popleft() for _ in range(min(count, len(self._visible)))]
        for message in taken:
            message.receives += 1
            message.receipt = f"receipt-{next(self._receipts)}"
            self._in_flight[message.receipt] = message
            self._hide(message, visibility)
        self._changed()
        return taken

    def delete(self, receipt: str) -> bool:
        """Remove a message in flight; whether the receipt was still valid."""
        message = self._in_flight.pop(receipt, None)
        if message is None:
            return False
        if message.timer:
            message.timer.cancel()
        if not self._in_flight and not self._visible:
            self._empty.set()
        return True

    def hide(self, receipt: str, seconds: float) -> bool:
        """Hide a message in flight from now on; whether the receipt was still valid."""
        message = self._in_flight.get(receipt)
        if message is None:
            return False
        self._hide(message, seconds)
        return True

    async def emptied(self) -> None:
        """Wait until every message has been deleted."""
        await self._empty.wait()

    def _hide(self, message: QueuedMessage, seconds: float) -> None:
        if message.timer:
            message.timer.cancel()
        loop = asyncio.get_running_loop()
        if seconds <= 0:
            self._show(message)
        else:
            message.timer = loop.call_later(seconds, self._show, message)

    def _show(self, message: QueuedMessage) -> None:
        del self._in_flight[message.receipt]
        message.timer = None
        self._visible.append(message)
        self._changed()

    def _changed(self) -> None:
        self.depths.append((time.monotonic(), len(self._visible)))
        if self._visible:
            for poller in self._pollers:  # in the order in which they came
                if not poller.done():
                    poller.set_result(None)

    async def _poll(self, seconds: float) -> None:
        poller = asyncio.get_running_loop().create_future()
        self._pollers.append(poller)
        try:
            await asyncio.wait({poller}, timeout=seconds)
        finally:
            self._pollers.remove(poller)
