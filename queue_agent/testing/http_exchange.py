"""A request as a proxy takes it in, and the two connections it concerns."""

import asyncio
import contextlib
import fnmatch
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

CHUNK: Final = 64 * 1024
"""Bytes that are read, or sent, at a time."""


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
        form = parse_qs(request.body[:CHUNK].decode("latin-1"))
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
                await end_all(pipes)

    async def answer(self) -> bytes:
        """The server's whole answer, head included."""
        async with self._upstream() as (reader, _):
            whole: bytes = await reader.read()
        return whole

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def send_answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        await self.send(head_of(status, {"content-length": str(len(body)), **headers}) + body)

    async def until_the_client_leaves(self) -> None:
        while await self._reader.read(CHUNK):
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
            await close(writer)


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    """The next request of a connection, its body in memory."""
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


def head_of(status: int, headers: Mapping[str, str]) -> bytes:
    """The head of an answer, after which the connection closes."""
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Unknown"
    lines = [f"HTTP/1.1 {status} {reason}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever its other end did."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def end_all(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel them and wait for their ends."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
