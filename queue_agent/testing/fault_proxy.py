"""A reverse proxy that breaks answers on purpose, to show how a client bears it.

    async with FaultProxy(server.url) as proxy:
        with proxy.fault(Status(503), on_path("/v1/*"), times=2):
            ...  # talk to proxy.url
        assert proxy.count(on_path("/v1/*")) == 3

One request per connection, requests are held in memory, and WebSockets are piped after the
upgrade: enough for tests, no more.
"""

import asyncio
import contextlib
import json
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from pydantic import JsonValue

from queue_agent.testing.fault_rules import FaultRules
from queue_agent.testing.http_exchange import (
    CHUNK,
    Exchange,
    Matcher,
    Request,
    aws_operation,
    close,
    end_all,
    everything,
    head_of,
    on_path,
    read_request,
)

__all__ = [
    "BlackHole",
    "Delay",
    "Exchange",
    "Fault",
    "FaultProxy",
    "Hold",
    "LoseAnswer",
    "Matcher",
    "Oversized",
    "Request",
    "Reset",
    "Status",
    "Truncate",
    "aws_operation",
    "everything",
    "on_path",
]

_HEAD_LIMIT: Final = 1024 * 1024


class Fault(ABC):
    """What happens to a request instead of being relayed."""

    @abstractmethod
    async def strike(self, exchange: Exchange) -> None: ...


@dataclass(frozen=True)
class Status(Fault):
    """Answers with this, without asking the server; a garbage body with status 200 is one too."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, status: int, value: JsonValue) -> Self:
        return cls(status, json.dumps(value).encode(), {"content-type": "application/json"})

    async def strike(self, exchange: Exchange) -> None:
        await exchange.send_answer(self.status, self.body, self.headers)


@dataclass(frozen=True)
class Delay(Fault):
    """Relays after so many seconds."""

    seconds: float

    async def strike(self, exchange: Exchange) -> None:
        await asyncio.sleep(self.seconds)
        await exchange.relay()


@dataclass
class Hold(Fault):
    """Keeps requests from the server until they are released, then relays them and all others."""

    _released: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def release(self) -> None:
        self._released.set()

    async def strike(self, exchange: Exchange) -> None:
        await self._released.wait()
        await exchange.relay()


@dataclass(frozen=True)
class Truncate(Fault):
    """Closes the connection after so many bytes of the server's answer's body.

    By default half of the body; its head, with the full length, is passed on.
    """

    after: int | None = None

    async def strike(self, exchange: Exchange) -> None:
        head, end, body = (await exchange.answer()).partition(b"\r\n\r\n")
        kept = len(body) // 2 if self.after is None else self.after
        await exchange.send(head + end + body[:kept])


@dataclass
class Damage(Fault):
    """Changes a few bytes amid each PNG of the server's answer, in base64 or as it is."""

    done: int = 0
    """So many were changed."""

    async def strike(self, exchange: Exchange) -> None:
        answer = bytearray(await exchange.answer())
        for begin, offset, fillers in (
            (b"\x89PNG\r\n\x1a\n", 60, b"\0\xff"),
            (b"iVBORw0KGgo", 80, b"AB"),
        ):
            place = answer.find(begin)
            while place >= 0:
                for at in range(place + offset, min(place + offset + 12, len(answer))):
                    answer[at] = fillers[answer[at] == fillers[0]]
                self.done += 1
                place = answer.find(begin, place + 1)
        await exchange.send(bytes(answer))


@dataclass(frozen=True)
class LoseAnswer(Fault):
    """Lets the server do its work, then breaks the connection instead of answering."""

    async def strike(self, exchange: Exchange) -> None:
        await exchange.answer()
        exchange.reset()


@dataclass(frozen=True)
class Reset(Fault):
    """Breaks the connection at once; the server sees nothing."""

    async def strike(self, exchange: Exchange) -> None:
        exchange.reset()


@dataclass(frozen=True)
class BlackHole(Fault):
    """Never answers; the server sees nothing."""

    async def strike(self, exchange: Exchange) -> None:
        await exchange.until_the_client_leaves()


@dataclass
class Oversized(Fault):
    """Announces an absurd number of bytes, sends as many as nobody should read, then stalls."""

    announced: int = 1 << 40
    sent: int = 1 << 30
    media_type: str = "application/json"
    swallowed: bool = field(default=False, init=False)
    """Whether a client took all that was sent."""

    async def strike(self, exchange: Exchange) -> None:
        headers = {"content-length": str(self.announced), "content-type": self.media_type}
        await exchange.send(head_of(200, headers))
        chunk = b" " * CHUNK
        for _ in range(self.sent // CHUNK):
            await exchange.send(chunk)
        self.swallowed = True
        await exchange.until_the_client_leaves()


class FaultProxy:
    """Stands at `url` in front of the server at `target`; an async context manager."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"{target} must name a host and a port")
        self.requests: list[Request] = []
        """Every request so far, faulted or not, oldest first."""
        self._target = (parts.hostname, parts.port)
        self._rules: FaultRules[Request, Fault] = FaultRules()
        self._listener: socket.socket | None = None
        self._exchanges: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        if self._listener is None:
            raise RuntimeError("the proxy has not been started")
        host, port = self._listener.getsockname()
        return f"http://{host}:{port}"

    def fault(
        self, fault: Fault, matches: Matcher = everything, *, times: int | None = None
    ) -> contextlib.AbstractContextManager[None]:
        """Do this to matching requests, the first `times` of them, while the context lasts.

        Of several faults that match, the one added first strikes.
        """
        return self._rules.holding(fault, matches, times=times)

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse connections while the context lasts, as where no server is; keeps the port."""
        assert self._listener is not None
        reserved = socket.socket()
        # before the other is closed, since somebody else might take the port
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(self._listener.getsockname())
        self._stop_listening()
        self._listener = reserved
        try:
            yield
        finally:
            reserved.listen()
            self._start_listening()

    def count(self, matches: Matcher = everything) -> int:
        """How many such requests came."""
        return sum(map(matches, self.requests))

    async def __aenter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), reuse_port=True)
        self._start_listening()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._listener is not None:
            self._stop_listening()
            await asyncio.sleep(0)  # an exchange that has not begun would not end its connection
            await end_all(self._exchanges)

    def _start_listening(self) -> None:
        assert self._listener is not None
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _stop_listening(self) -> None:
        assert self._listener is not None
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()

    # Not by `asyncio.start_server`, which forgets connections that come while it closes.
    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # the client has left again
        connection.setblocking(False)
        task = asyncio.create_task(self._exchange(connection))
        self._exchanges.add(task)
        task.add_done_callback(self._exchanges.discard)

    async def _exchange(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection, limit=_HEAD_LIMIT)
        try:
            request = await read_request(reader, writer)
            self.requests.append(request)
            exchange = Exchange(request, (reader, writer), self._target)
            fault = self._rules.fault_for(request)
            await (fault.strike(exchange) if fault else exchange.relay())
        except (OSError, EOFError):
            pass  # one of the two left: so does the other
        finally:
            await close(writer)
