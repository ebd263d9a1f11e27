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
import fnmatch
import json
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import JsonValue

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

_CHUNK: Final = 64 * 1024
_HEAD_LIMIT: Final = 1024 * 1024


@dataclass(frozen=True)
class Request:
    """A request as it came; header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def encoded(self, host: str) -> bytes:
        """The request on the wire, asking the server to close the connection after it."""
        headers = {**self.headers, "host": self.headers.get("host", host)}
        if "upgrade" not in headers:
            headers["connection"] = "close"
        for name in ("transfer-encoding", "expect"):
            headers.pop(name, None)
        if self.body:
            headers["content-length"] = str(len(self.body))
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


Matcher = Callable[[Request], bool]


def everything(_: Request) -> bool:
    """Matches every request."""
    return True


def on_path(pattern: str, method: str | None = None) -> Matcher:
    """Matches a path by a shell pattern, e.g. ``/sdapi/*``."""

    def matches(request: Request) -> bool:
        return fnmatch.fnmatchcase(request.path, pattern) and method in {None, request.method}

    return matches


def aws_operation(name: str) -> Matcher:
    """Matches an operation of the AWS JSON and query protocols, e.g. ``SendMessage``.

    S3 has no operation names: match its requests by `on_path`.
    """

    def matches(request: Request) -> bool:
        if request.headers.get("x-amz-target", "").rpartition(".")[2] == name:
            return True
        form = parse_qs(request.body[:_CHUNK].decode("latin-1"))
        return form.get("Action") == [name]

    return matches


class Exchange:
    """One request and the two connections it concerns."""

    def __init__(
        self,
        request: Request,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        target: tuple[str, int],
    ) -> None:
        self.request = request
        self._reader, self._writer = client
        self._host, self._port = target

    async def relay(self) -> None:
        """Pass the request on and pipe both ways until either side closes."""
        async with self._upstream() as (reader, writer):
            pipes = [
                asyncio.create_task(_pipe(reader, self._writer)),
                asyncio.create_task(_pipe(self._reader, writer)),
            ]
            try:
                await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _end(pipes)

    async def answer(self) -> bytes:
        """The server's whole answer, head included."""
        async with self._upstream() as (reader, _):
            whole: bytes = await reader.read()
        return whole

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def send_answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        await self.send(_head(status, {"content-length": str(len(body)), **headers}) + body)

    async def until_the_client_leaves(self) -> None:
        while await self._reader.read(_CHUNK):
            pass

    def reset(self) -> None:
        """Break the client's connection without a word."""
        self._writer.transport.abort()

    @contextlib.asynccontextmanager
    async def _upstream(
        self,
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(self.request.encoded(f"{self._host}:{self._port}"))
            await writer.drain()
            yield reader, writer
        finally:
            await _close(writer)


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
        await exchange.send(_head(200, headers))
        chunk = b" " * _CHUNK
        for _ in range(self.sent // _CHUNK):
            await exchange.send(chunk)
        self.swallowed = True
        await exchange.until_the_client_leaves()


@dataclass
class _Rule:
    fault: Fault
    matches: Matcher
    times: int | None

    def takes(self, request: Request) -> bool:
        if self.times == 0 or not self.matches(request):
            return False
        if self.times is not None:
            self.times -= 1
        return True


class FaultProxy:
    """Stands at `url` in front of the server at `target`; an async context manager."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"{target} must name a host and a port")
        self.requests: list[Request] = []
        """Every request so far, faulted or not, oldest first."""
        self._target = (parts.hostname, parts.port)
        self._rules: list[_Rule] = []
        self._listener: socket.socket | None = None
        self._exchanges: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        if self._listener is None:
            raise RuntimeError("the proxy has not been started")
        host, port = self._listener.getsockname()
        return f"http://{host}:{port}"

    @contextlib.contextmanager
    def fault(
        self, fault: Fault, matches: Matcher = everything, *, times: int | None = None
    ) -> Iterator[None]:
        """Do this to matching requests, the first `times` of them, while the context lasts.

        Of several faults that match, the one added first strikes.
        """
        rule = _Rule(fault, matches, times)
        self._rules.append(rule)
        try:
            yield
        finally:
            self._rules.remove(rule)

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
            await _end(self._exchanges)

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
            request = await _read_request(reader, writer)
            self.requests.append(request)
            exchange = Exchange(request, (reader, writer), self._target)
            rule = next((rule for rule in self._rules if rule.takes(request)), None)
            await (rule.fault.strike(exchange) if rule else exchange.relay())
        except (OSError, EOFError):
            pass  # one of the two left: so does the other
        finally:
            await _close(writer)


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    fields = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, target, headers, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readline()).partition(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    while (await reader.readline()).strip():
        pass  # trailers
    return bytes(body)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Unknown"
    lines = [f"HTTP/1.1 {status} {reason}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
