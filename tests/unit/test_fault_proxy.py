"""The proxy that the fault tests stand on: it relays truly and breaks what it is told to."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import httpx
import pytest
import websockets

from queue_agent.testing.fault_proxy import (
    BlackHole,
    Delay,
    Fault,
    FaultProxy,
    LoseAnswer,
    Oversized,
    Request,
    Reset,
    Status,
    Truncate,
    aws_operation,
    everything,
    on_path,
)

BODY = b"0123456789" * 100


class Echo:
    """Answers every request with its own body."""

    def __init__(self) -> None:
        self.answered = 0
        self.asked = asyncio.Event()
        self.left = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if b"content-length" in line), 0
        )
        body = await reader.readexactly(length)
        if b"/wait" in head:
            self.asked.set()
            await reader.read()
            self.left.set()
        else:
            self.answered += 1
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n" % len(body))
            writer.write(b"connection: close\r\n\r\n" + body)
        writer.close()


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Echo, FaultProxy, httpx.AsyncClient]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with (
            FaultProxy(f"http://127.0.0.1:{port}") as proxy,
            httpx.AsyncClient(base_url=proxy.url, timeout=90) as client,
        ):
            yield echo, proxy, client
    finally:
        server.close()


async def _chunks() -> AsyncIterator[bytes]:
    for start in range(0, len(BODY), 300):
        yield BODY[start : start + 300]


async def test_requests_and_answers_pass_unchanged_and_are_counted() -> None:
    async with proxied() as (_, proxy, client):
        assert (await client.post("/a?x=1", content=BODY)).content == BODY
        assert (await client.post("/b", content=_chunks())).content == BODY
        assert (await client.get("/b")).content == b""
        assert [request.target for request in proxy.requests] == ["/a?x=1", "/b", "/b"]
        assert proxy.count(on_path("/b")) == 2
        assert proxy.count(on_path("/b", "POST")) == 1


async def test_a_fault_strikes_matching_requests_for_so_many_times() -> None:
    async with proxied() as (echo, proxy, client):
        with proxy.fault(Status.of_json(503, {"why": "test"}), on_path("/a/*"), times=2):
            answers = [await client.get(path) for path in ("/a/1", "/b", "/a/2", "/a/3")]
        assert [answer.status_code for answer in answers] == [503, 200, 503, 200]
        assert answers[0].json() == {"why": "test"}
        assert echo.answered == 2


async def test_a_fault_ends_with_its_context() -> None:
    async with proxied() as (_, proxy, client):
        with proxy.fault(Status(500), everything):
            assert (await client.get("/")).status_code == 500
        assert (await client.get("/")).status_code == 200


@pytest.mark.parametrize("fault", [Truncate(), Truncate(after=3), Reset(), LoseAnswer()])
async def test_a_broken_answer_is_seen_as_broken(fault: Fault) -> None:
    async with proxied() as (echo, proxy, client):
        with proxy.fault(fault), pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await client.post("/", content=BODY)
        assert echo.answered == (0 if isinstance(fault, Reset) else 1)


async def test_a_black_hole_never_answers() -> None:
    async with proxied() as (echo, proxy, client):
        with proxy.fault(BlackHole()), pytest.raises(httpx.ReadTimeout):
            await client.get("/", timeout=httpx.Timeout(90, read=0.1))
        assert echo.answered == 0


async def test_an_oversized_answer_goes_on_until_the_client_leaves() -> None:
    async with proxied() as (_, proxy, client):
        with proxy.fault(Oversized()):
            read = 0
            async with client.stream("GET", "/") as answer:
                assert int(answer.headers["content-length"]) > 1 << 30
                async for chunk in answer.aiter_raw():
                    read += len(chunk)
                    if read > 1_000_000:
                        break


async def test_a_delayed_answer_is_the_servers_own() -> None:
    async with proxied() as (_, proxy, client):
        with proxy.fault(Delay(0.01)):
            assert (await client.post("/", content=BODY)).content == BODY


async def test_the_server_sees_that_the_client_left() -> None:
    async with proxied() as (echo, _, client):
        async with asyncio.timeout(90):
            request = asyncio.create_task(client.get("/wait"))
            await echo.asked.wait()
            request.cancel()
            await echo.left.wait()


async def test_web_sockets_pass_both_ways() -> None:
    async def answer(connection: websockets.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with websockets.serve(answer, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with (
            FaultProxy(f"http://127.0.0.1:{port}") as proxy,
            websockets.connect(proxy.url.replace("http", "ws")) as connection,
        ):
            await connection.send("there and back")
            assert await connection.recv() == "there and back"


@pytest.mark.parametrize(
    "request_",
    [
        Request("POST", "/", {"x-amz-target": "AmazonSQS.SendMessage"}, b"{}"),
        Request("POST", "/", {}, b"Action=SendMessage&Version=2012-11-05"),
    ],
)
def test_aws_operations_are_told_by_header_or_form(request_: Request) -> None:
    assert aws_operation("SendMessage")(request_)
    assert not aws_operation("ReceiveMessage")(request_)


@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_that_comes_while_it_ends_is_ended_too(turns: int) -> None:
    before = asyncio.all_tasks()
    async with FaultProxy("http://127.0.0.1:9") as proxy:
        clients = [socket.create_connection(("127.0.0.1", urlsplit(proxy.url).port)) for _ in "ab"]
        for _ in range(turns):
            await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    for client in clients:
        with client, suppress(ConnectionResetError):
            client.settimeout(90)
            assert await asyncio.to_thread(client.recv, 1) == b""


async def test_a_proxy_that_refuses_keeps_its_port() -> None:
    async with proxied() as (echo, proxy, client):
        for _ in range(2):
            with proxy.refusing(), pytest.raises(httpx.ConnectError):
                await client.post("/a", content=BODY)
            assert (await client.post("/a", content=BODY)).content == BODY
        assert echo.answered == 2
