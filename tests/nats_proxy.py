"""A proxy before a NATS server that holds, delays, loses and cuts what clients send.

It knows of the protocol where a client's messages begin and end:
https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Self, cast

from queue_agent.testing.fault_proxy import Exchange, Fault
from queue_agent.testing.fault_rules import FaultRules
from queue_agent.testing.http_exchange import end_all
from queue_agent.testing.process import HOST

_CHUNK: Final = 2**16
_ANSWERS: Final = b"MSG _INBOX."


@dataclass(frozen=True)
class Sent:
    """A message as a client sent it."""

    subject: str
    body: bytes = field(repr=False)
    """With its headers."""


Wanted = Callable[[Sent], bool]


class NatsProxy:
    """Stands at `address` before the server of that port here; an async context manager.

    Of the faults of HTTP's proxy it knows those that let requests wait, pass, or break; and
    `Status`, of whatever value, which takes a message away.
    """

    def __init__(self, target: int) -> None:
        self.messages: list[Sent] = []
        """All so far, oldest first."""
        self.latency = 0.0
        """Seconds by which all comes later, each way."""
        self.held = 0
        """How often something was kept while it stalled."""
        self._target = target
        self._rules: FaultRules[Sent, Fault] = FaultRules()
        self._flows = asyncio.Event()
        self._flows.set()
        self._links: set[_ProxiedLink] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"nats://{HOST}:{self._server.sockets[0].getsockname()[1]}"

    def fault(
        self, fault: Fault, matches: Wanted, *, times: int | None = None
    ) -> contextlib.AbstractContextManager[None]:
        """Do this to such messages, the first `times` of them, while the context lasts."""
        return self._rules.holding(fault, matches, times=times)

    @contextlib.contextmanager
    def stalling(self) -> Iterator[None]:
        """Let nothing pass, either way, while the context lasts; then all that was kept."""
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    def cut(self) -> None:
        """Break all connections."""
        for link in self._links:
            link.reset()

    def count(self, matches: Wanted) -> int:
        """How many such messages came."""
        return sum(map(matches, self.messages))

    def fault_for(self, sent: Sent) -> Fault | None:
        """Takes the message down; what is to be done to it."""
        self.messages.append(sent)
        return self._rules.fault_for(sent)

    async def pass_on(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        """Send it as late as all is now."""
        if self.latency:
            await asyncio.sleep(self.latency)
        if not self._flows.is_set():
            self.held += 1
            await self._flows.wait()
        writer.write(data)
        await writer.drain()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await end_all(self._tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.transport.abort()
            return
        link = _ProxiedLink(self, (reader, writer), upstream)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)


class _ProxiedLink:
    """One client's connection, and that to the server."""

    def __init__(
        self,
        proxy: NatsProxy,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._proxy = proxy
        self._reader, self._writer = client
        self._upstream, self._up = server
        self._came = b""
        self._deaf: asyncio.Event | None = None
        """Set when an answer was swallowed."""

    async def run(self) -> None:
        """Until either side leaves."""
        ways = [asyncio.create_task(self._forth()), asyncio.create_task(self._back())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.reset()
            await end_all(ways)

    def reset(self) -> None:
        """Break both connections."""
        self._writer.transport.abort()
        self._up.transport.abort()

    async def send(self, data: bytes) -> None:
        await self._proxy.pass_on(data, self._up)

    async def lose_answer(self, data: bytes) -> None:
        """Send it; nothing that comes then reaches the client."""
        self._deaf = asyncio.Event()
        await self.send(data)
        await self._deaf.wait()

    async def until_the_client_leaves(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                await self._more()

    async def _forth(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            async for sent, raw in self._messages():
                fault = self._proxy.fault_for(sent) if sent else None
                if fault is None:
                    await self.send(raw)
                else:
                    exchange = _SentExchange(self, raw)
                    await fault.strike(cast("Exchange", exchange))

    async def _back(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._upstream.read(_CHUNK):
                if self._deaf is None:
                    await self._proxy.pass_on(data, self._writer)
                elif _ANSWERS in data:
                    self._deaf.set()

    async def _messages(self) -> AsyncIterator[tuple[Sent | None, bytes]]:
        """What the client sends, piece by piece; None for what is no message."""
        while True:
            while b"\r\n" not in self._came:
                await self._more()
            line, _, _ = self._came.partition(b"\r\n")
            words = line.split()
            is_message = bool(words) and words[0].upper() in {b"PUB", b"HPUB"}
            length = len(line) + 2 + (int(words[-1]) + 2 if is_message else 0)
            while len(self._came) < length:
                await self._more()
            raw, self._came = self._came[:length], self._came[length:]
            body = raw[len(line) + 2 : -2]
            yield (Sent(words[1].decode(), body) if is_message else None), raw

    async def _more(self) -> None:
        data = await self._reader.read(_CHUNK)
        if not data:
            raise EOFError
        self._came += data


@dataclass(frozen=True)
class _SentExchange:
    """What the faults of HTTP's proxy ask of an exchange, where they ask no more."""

    link: _ProxiedLink
    raw: bytes

    async def relay(self) -> None:
        await self.link.send(self.raw)

    async def answer(self) -> bytes:
        await self.link.lose_answer(self.raw)
        return b""

    async def send_answer(self, *_: object) -> None:
        """Nobody answers: the server has not seen it."""

    def reset(self) -> None:
        self.link.reset()

    async def until_the_client_leaves(self) -> None:
        await self.link.until_the_client_leaves()
