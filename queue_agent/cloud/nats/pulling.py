"""Asking a consumer for messages, such that none lies somewhere on its way to nobody.

https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-37.md
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from queue_agent.cloud.nats.connection import Connection
from queue_agent.cloud.nats.errors import FAILURES, NO_CONSUMER, unavailable
from queue_agent.wire.errors import Unanswered

GIVE_BACK: Final = b"-NAK"
NANOSECONDS: Final = 10**9
"""Of a second, as the servers count time."""

_HEARTBEAT: Final = 5.0
"""Seconds between two signs of life while there is no message."""
_MISSED: Final = 3 * _HEARTBEAT
"""Without any sign for so long, nobody works on the request."""
_PAUSE: Final = 0.1
_PATIENCE: Final = 2.0
_OVER: Final = frozenset({"404", "408"})
"""There are no more; the time is over, or others wait for those there are."""
_ALIVE: Final = "100"


async def pull(
    connection: Connection, stream: str, consumer: str, count: int, *, wait: float
) -> list[Msg]:
    """Up to `count` messages, waiting up to `wait` seconds for the first.

    Cancelled, it gives back what is on its way.

    Raises:
        Unavailable: the consumer does not answer, or there is none.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + wait
    found: list[Msg] = []
    async with connection.exchange("receive messages", seconds=wait + 2 * _MISSED) as client:
        asking = _Asking(client, f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}")
        await asking.begin()
        try:
            while True:
                await asking.ask(found, count, max(0.0, end - loop.time()))
                if found or loop.time() >= end:
                    break
                await asyncio.sleep(_PAUSE)  # others were first
            await asking.end()
        except BaseException:
            await asyncio.shield(asking.give_back(found))
            raise
    return found


class _Asking:
    """An inbox of its own, for the requests of one call."""

    def __init__(self, client: Client, subject: str) -> None:
        self._client = client
        self._subject = subject
        self._inbox = client.new_inbox()
        self._arrived: asyncio.Queue[Msg] = asyncio.Queue()

    async def begin(self) -> None:
        self._subscription = await self._client.subscribe(self._inbox, cb=self._arrive)

    async def end(self) -> None:
        await self._subscription.unsubscribe()

    async def ask(self, found: list[Msg], count: int, wait: float) -> None:
        """One request: what is there at once, else the first that comes."""
        request: dict[str, object] = {"batch": count, "no_wait": True}
        if wait > 0:
            request["expires"] = round(wait * NANOSECONDS)
        if wait > 2 * _HEARTBEAT:
            request["idle_heartbeat"] = round(_HEARTBEAT * NANOSECONDS)
        await self._client.publish(self._subject, json.dumps(request).encode(), self._inbox)
        while len(found) < count:
            try:
                async with asyncio.timeout(_MISSED):
                    message = await self._arrived.get()
            except TimeoutError:
                raise Unanswered("Could not receive messages: the consumer is silent.") from None
            status = _status(message.headers)
            if not status:
                found.append(message)
            elif status in _OVER:
                return
            elif status != _ALIVE:
                raise unavailable("receive messages", _text(message.headers), _code(status))

    async def give_back(self, found: list[Msg]) -> None:
        """End the request, and give back what was and what still comes."""
        with suppress(*FAILURES):
            async with asyncio.timeout(_PATIENCE):
                await self._subscription.drain()  # type: ignore[no-untyped-call]
                while not self._arrived.empty():
                    found.append(self._arrived.get_nowait())
                for message in found:
                    if not _status(message.headers):
                        await self._client.publish(message.reply, GIVE_BACK)

    async def _arrive(self, message: Msg) -> None:
        self._arrived.put_nowait(message)


def _status(headers: Mapping[str, str] | None) -> str:
    return (headers or {}).get("Status", "")


def _text(headers: Mapping[str, str] | None) -> str:
    return (headers or {}).get("Description", "")


def _code(status: str) -> int | None:
    """That of an error of the servers; nobody listens where no consumer of the name is."""
    return NO_CONSUMER if status == "503" else None
