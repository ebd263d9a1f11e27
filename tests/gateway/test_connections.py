"""Connections that do not say what they want end by themselves, and there are only so many."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import uvicorn
from websockets.asyncio.client import connect

from gateway_bench import Gateways
from queue_agent.gateway import app as gateway_app
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.tasks import background

LIMIT: Final = 60.0
"""Seconds that only go by while a test lets them, so that no machine is too slow for them."""

HALVES = {
    "nothing": b"",
    "half a word": b"GE",
    "half a header": b"GET /healthz HTTP/1.1\r\nHost: loc",
    "no end of the headers": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n",
    "half of a second request": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea",
    "half a WebSocket": b"GET /v1/jobs/a/events HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket",
    "half a body": b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
    b"Content-Type: application/json\r\n\r\n{",
}

Serve = Callable[..., Any]
Hurried = Callable[[], AbstractAsyncContextManager[None]]


@pytest.fixture
async def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serve]:
    """Serves a gateway on a port, until the block's end."""
    gateways = Gateways(tmp_path)
    monkeypatch.setattr(gateway_app, "connect", lambda *_, **__: gateways.cloud)

    @asynccontextmanager
    async def serving(**settings: Any) -> AsyncIterator[int]:
        values = GatewaySettings.model_construct(**settings)
        config = gateway_app.server_config(gateways.app(**settings), values)
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0), backlog=1000) as listening:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(server.serve(sockets=[listening]))
                try:
                    yield listening.getsockname()[1]
                finally:
                    server.should_exit = server.force_exit = True

    async with gateways.stack:
        yield serving


@pytest.fixture
async def hurried(monkeypatch: pytest.MonkeyPatch) -> Hurried:
    """Lets a second go by at each round of the loop, which is the server's too, within a block."""
    loop = asyncio.get_running_loop()
    time, ahead = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: time() + ahead)

    async def hurry() -> None:
        nonlocal ahead
        while True:
            ahead += 1
            await asyncio.sleep(0)

    @asynccontextmanager
    async def hurrying() -> AsyncIterator[None]:
        async with asyncio.timeout(100 * LIMIT), background(hurry()):
            yield

    return hurrying


def client_of(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=None)  # noqa: S113


async def ended(port: int, sent: bytes) -> bytes:
    """What is answered until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES.keys())
async def test_hundreds_of_half_requests_end_by_themselves(
    serve: Serve, hurried: Hurried, half: bytes
) -> None:
    async with serve(header_seconds=LIMIT, body_seconds=LIMIT) as port:
        async with hurried():
            await asyncio.gather(*(ended(port, half) for _ in range(300)))
        async with client_of(port) as client:
            assert (await client.get("/healthz")).status_code == 200


async def test_one_that_goes_on_byte_by_byte_ends_too(serve: Serve, hurried: Hurried) -> None:
    async with serve(header_seconds=LIMIT) as port, hurried():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nX-Slow: ")

        async def drip() -> None:
            while True:
                writer.write(b"a")
                await asyncio.sleep(2)

        async with background(drip()):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        await closed(writer)


async def test_event_streams_and_web_sockets_stay(serve: Serve, hurried: Hurried) -> None:
    async with (
        serve(header_seconds=LIMIT, body_seconds=LIMIT, poll=0.05) as port,
        AsyncExitStack() as s,
    ):
        api = await s.enter_async_context(client_of(port))
        job = (await api.post("/v1/jobs", json={"content": {"prompt": "a"}})).json()
        path = f"/v1/jobs/{job['id']}/events"
        stream = await s.enter_async_context(api.stream("GET", path))
        url = f"ws://127.0.0.1:{port}{path}"
        ws = await s.enter_async_context(connect(url, open_timeout=None, ping_interval=None))
        lines = (line async for line in stream.aiter_lines() if line.startswith("data: "))
        first = [await anext(lines), str(await ws.recv())]
        async with hurried():
            await ended(port, b"GET /healthz")  # its time and theirs is over
            await ended(port, b"GET /healthz")
        await api.delete(f"/v1/jobs/{job['id']}")
        then = [await anext(lines), str(await ws.recv())]
    for status, (event, message) in (("queued", first), ("cancelling", then)):
        assert json.loads(event.removeprefix("data: "))["status"] == status
        assert json.loads(message)["status"] == status


async def test_there_are_only_so_many_connections(serve: Serve) -> None:
    async with serve(connections=3, header_seconds=LIMIT) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for reader, writer in held:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b" 200 " in await reader.readline()
        for sent in (b"", b"GET /healthz HTTP/1.1\r\n"):
            assert (await ended(port, sent)).startswith(b"HTTP/1.1 503 ")
        for _, writer in held:
            await closed(writer)
        async with client_of(port) as client:
            while (await client.get("/healthz")).status_code != 200:
                pass  # the server hears of the ends when it hears of them
