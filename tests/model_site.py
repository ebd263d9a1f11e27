"""A server of models on the loopback interface: ranges, redirects, and what goes wrong."""

import asyncio
import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

TRUSTED = ("127.0.0.1/32",)
"""What lets the guard have it."""


def model_bytes(size: int = 64, fill: str = "x") -> bytes:
    """A file that looks like safetensors, of so many bytes."""
    header = json.dumps({"__metadata__": {}}).encode()
    start = len(header).to_bytes(8, "little") + header
    return start + fill.encode() * max(0, size - len(start))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Served:
    """What a path answers."""

    data: bytes = b""
    status: str = "200 OK"
    headers: dict[str, str] = field(default_factory=dict)
    etag: str | None = '"v1"'
    ranges: bool = True
    promised: bool = True
    """Whether its length is said."""
    breaks_after: list[int] = field(default_factory=list)
    """Of the next answers, after how many bytes each breaks off."""
    go_on: asyncio.Event | None = None
    """What it waits for after its first half."""


class ModelSite:
    def __init__(self, url: str) -> None:
        self.url = url
        self.paths: dict[str, Served] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        """Paths, and header fields with their names in lower case."""
        self.asked = asyncio.Event()
        """Set with each request."""
        self.left: asyncio.Queue[str] = asyncio.Queue()
        """Paths whose clients hung up before the end."""

    def serve(self, path: str, data: bytes, **options: object) -> str:
        """Answer with this; the URL."""
        self.paths[path] = Served(data, **options)  # type: ignore[arg-type]
        return self.url + path

    def redirect(self, path: str, target: str) -> str:
        self.paths[path] = Served(status="302 Found", headers={"Location": target})
        return self.url + path

    def asked_for(self, path: str) -> list[dict[str, str]]:
        return [headers for asked, headers in self.requests if asked == path]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = ""
        try:
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
                path = first.split(" ")[1].partition("?")[0]
                pairs = (line.partition(":") for line in lines if line)
                headers = {name.lower(): value.strip() for name, _, value in pairs}
                self.requests.append((path, headers))
                self.asked.set()
                if not await self._answer(self.paths[path], headers, reader, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            await self.left.put(path)
        finally:
            writer.close()

    async def _answer(
        self,
        served: Served,
        asked: dict[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        data, status, headers = served.data, served.status, dict(served.headers)
        if served.etag and data:
            headers["ETag"] = served.etag
        if "range" in asked and served.ranges and asked.get("if-range") == served.etag:
            begin = int(asked["range"].removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
            data, status = data[begin:], "206 Partial Content"
        if served.promised:
            headers["Content-Length"] = str(len(data))
        else:
            headers["Connection"] = "close"
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        if served.breaks_after:
            writer.write(data[: served.breaks_after.pop(0)])
            await writer.drain()
            return False
        if served.go_on is None:
            writer.write(data)
            await writer.drain()
            return served.promised
        writer.write(data[: len(data) // 2])
        await writer.drain()
        gone = asyncio.ensure_future(reader.read(1))
        going_on = asyncio.ensure_future(served.go_on.wait())
        await asyncio.wait({gone, going_on}, return_when=asyncio.FIRST_COMPLETED)
        going_on.cancel()
        if gone.done():
            raise ConnectionError
        gone.cancel()
        writer.write(data[len(data) // 2 :])
        await writer.drain()
        return False


@asynccontextmanager
async def model_site(
    host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[ModelSite]:
    site = ModelSite("")
    server = await asyncio.start_server(site.handle, host, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    site.url = f"{'https' if tls else 'http'}://{host}:{port}"
    async with server:
        yield site
