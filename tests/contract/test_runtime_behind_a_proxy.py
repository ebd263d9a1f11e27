"""Runtimes behind a proxy that speaks TLS and wants a cookie, on every connection."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import JsonValue
from yarl import URL

from fakes import fake_runtime
from queue_agent.runtime import Progress, Readiness, Runtime, RuntimeOptions
from queue_agent.testing import ServerProcess
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.comfyui import ComfyUIRuntime
from queue_agent_runtimes.webui import WebUIRuntime
from tls_servers import certified

pytestmark = pytest.mark.asyncio

COOKIE = "session=let-me-in"
LOGIN = b"HTTP/1.1 302 Found\r\nlocation: https://login.example.com/\r\ncontent-length: 0\r\n\r\n"


@dataclass
class AuthProxy:
    """Lets connections through to a server whose first request has the cookie."""

    target: URL
    url: str = ""
    let_in: list[str] = field(default_factory=list)
    """The paths of the first requests of connections that went through."""
    sent_away: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head: bytes = await reader.readuntil(b"\r\n\r\n")
            path = head.decode().split()[1].partition("?")[0]
            if f"cookie: {COOKIE}\r\n".encode() in head.lower():
                self.let_in.append(path)
                await self._pass_on(head, reader, writer)
            else:
                self.sent_away.append(path)
                writer.write(LOGIN)
        writer.close()

    async def _pass_on(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        from_server, to_server = await asyncio.open_connection(self.target.host, self.target.port)
        to_server.write(head)
        pumps = [
            asyncio.create_task(pump(reader, to_server)),
            asyncio.create_task(pump(from_server, writer)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for task in pumps:
            task.cancel()
        to_server.close()


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()


@asynccontextmanager
async def proxied(server: ServerProcess, tls: ssl.SSLContext) -> AsyncIterator[AuthProxy]:
    proxy = AuthProxy(URL(server.url))
    listening = await asyncio.start_server(proxy.serve, "localhost", 0, ssl=tls)
    proxy.url = f"https://localhost:{listening.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        listening.close()
        await listening.wait_closed()


@asynccontextmanager
async def opened(adapter: type[Runtime], options: RuntimeOptions) -> AsyncIterator[Runtime]:
    runtime = adapter(options)
    try:
        yield runtime
    finally:
        await runtime.aclose()


def drawing() -> Job:
    content: dict[str, JsonValue] = {"prompt": "a cat", "steps": 3, "width": 64, "height": 64}
    return Job.model_validate(
        {"metadata": {"id": "job-1", "tasktype": "text-to-image"}, "content": content}
    )


@pytest.fixture(params=["comfyui", "webui"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[type[Runtime], ServerProcess]]:
    flags = ["--step-seconds", "0.02"] if request.param == "comfyui" else []
    with fake_runtime(request.param, *flags) as server:
        yield (ComfyUIRuntime if request.param == "comfyui" else WebUIRuntime), server


async def test_headers_and_the_authority_open_every_connection(
    served: tuple[type[Runtime], ServerProcess], tmp_path: Path
) -> None:
    adapter, server = served
    tls, authority = certified("localhost", tmp_path)
    reports: list[Progress] = []
    async with proxied(server, tls) as proxy:
        options = RuntimeOptions(proxy.url, headers={"Cookie": COOKIE}, ca_file=authority)
        async with opened(adapter, options) as runtime:
            assert await runtime.ready()
            prepared = await runtime.prepare(drawing(), {})
            assert (await runtime.run(prepared, reports.append)).artifacts
        assert proxy.sent_away == []
        if adapter is ComfyUIRuntime:
            assert "/ws" in proxy.let_in
            assert any(report.step for report in reports), "by events of the WebSocket"


async def test_without_its_cookie_the_reason_is_the_login_page(
    served: tuple[type[Runtime], ServerProcess], tmp_path: Path
) -> None:
    adapter, server = served
    tls, authority = certified("localhost", tmp_path)
    async with proxied(server, tls) as proxy:
        options = RuntimeOptions(proxy.url, ca_file=authority)
        async with opened(adapter, options) as runtime:
            told = Readiness.of(await runtime.ready())
            assert told.state == "misconfigured"
            assert "login.example.com" in told.reason
            prepared = await runtime.prepare(drawing(), {}) if adapter is WebUIRuntime else None
            if prepared is not None:
                with pytest.raises(Unavailable) as caught:
                    await runtime.run(prepared, reports_of_nobody)
                assert caught.value.type == "runtime_redirects", "no job is at fault"
        assert proxy.let_in == []


def reports_of_nobody(_: Progress) -> None:
    """Nobody wants to know."""
