"""The HTTP client that the bundled adapters share, against real servers on the loopback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.sdk.trace import TracerProvider

from queue_agent.runtime import Asset, RuntimeOptions
from queue_agent.runtime.http import FormFile, Response, RuntimeClient, error_from, form
from queue_agent.runtime.http import client as http_client
from queue_agent.wire.errors import Rejected, RunLost, Unavailable

NO_OPTIONS = RuntimeOptions()
HASTY = aiohttp.ClientTimeout(sock_read=0.05)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(
    handler: Handler, options: RuntimeOptions = NO_OPTIONS
) -> AsyncIterator[RuntimeClient]:
    """A client of a server that answers every request by `handler`, below the path /base."""
    application = web.Application(client_max_size=2**30)
    application.add_routes([web.route("*", "/base/{path:.*}", handler)])
    async with TestServer(application) as server:
        client = RuntimeClient(replace(options, base_url=f"{server.make_url('/base/')}"), "")
        try:
            yield client
        finally:
            await client.aclose()


@asynccontextmanager
async def talking(talk: Talk, scheme: str = "http") -> AsyncIterator[RuntimeClient]:
    """A client of a server that says what it likes on each connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = RuntimeClient(RuntimeOptions(), f"{scheme}://127.0.0.1:{port}")
    try:
        yield client
    finally:
        await client.aclose()
        server.close()
        await server.wait_closed()


async def nothing(_: web.Request) -> web.Response:
    return web.Response()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head: bytes = await reader.readuntil(b"\r\n\r\n")
    lines = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:-2])
    return await reader.readexactly(int(lines.get("content-length", "0")))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (NO_OPTIONS, None),
        (RuntimeOptions(api_key="key"), "Bearer key"),
        (RuntimeOptions(username="u", password="pä"), "Basic dTpww6Q="),
        (RuntimeOptions(username="u"), "Basic dTo="),
        (RuntimeOptions(api_key="key", headers={"Authorization": "Key it"}), "Key it"),
    ],
)
async def test_requests_carry_the_credentials_and_ask_for_no_compression(
    options: RuntimeOptions, expected: str | None
) -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.headers["accept-encoding"] == "identity"
        return web.json_response([request.headers.get("authorization"), request.path_qs])

    async with served(handler, options) as client:
        answer = await client.send("GET", "/a/b", params={"c": "d/e f"})
    assert answer.json() == [expected, "/base/a/b?c=d/e+f"]


async def test_requests_carry_the_extra_headers_and_show_them_to_nobody_else() -> None:
    async def handler(request: web.Request) -> web.Response:
        names = ("x-tenant", "user-agent", "x-own")
        return web.json_response([request.headers.get(name) for name in names])

    options = RuntimeOptions(headers={"X-Tenant": "shop-7", "User-Agent": "me"})
    async with served(handler, options) as client:
        answer = await client.send("GET", "/", headers={"X-Own": "yes"})
        assert client.headers["x-tenant"] == "shop-7"
    assert answer.json() == ["shop-7", "me", "yes"]
    assert "shop-7" not in repr(options)


async def test_a_trace_goes_on_in_the_runtime() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=request.headers.get("traceparent", ""))

    async with served(handler) as client:
        with TracerProvider().get_tracer("test").start_as_current_span("job") as span:
            answer = await client.send("GET", "/")
    assert f"{span.get_span_context().trace_id:032x}" in answer.body.decode()


async def test_the_environments_proxies_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text="direct")

    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with served(handler) as client:
        assert (await client.send("GET", "/")).body == b"direct"


async def test_neither_cookies_nor_redirects_are_followed() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert not request.cookies
        headers = {"location": "/elsewhere", "set-cookie": "a=b"}
        return web.Response(status=302, headers=headers)

    async with served(handler) as client:
        assert [(await client.send("POST", "/")).status for _ in range(2)] == [302, 302]


async def test_a_large_request_is_sent_whole_with_its_length() -> None:
    text = "ä" * 3_000_000

    async def handler(request: web.Request) -> web.Response:
        body = await request.read()
        assert request.content_type == "application/json"
        assert len(body) == request.content_length
        return web.json_response((await request.json()) == [text])

    async with served(handler) as client:
        assert (await client.send("POST", "/", json=[text])).json() is True


@pytest.mark.parametrize("announced", [True, False])
async def test_an_answer_is_read_up_to_the_limit_and_no_further(announced: bool) -> None:
    size = 1_000_000

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if announced:
            response.content_length = size
        await response.prepare(request)
        await response.write(b"x" * size)
        return response

    async with served(handler) as client:
        assert (await client.send("GET", "/", limit=size)).body == b"x" * size
        with pytest.raises(Unavailable) as caught:
            await client.send("GET", "/", limit=size - 1)
    assert caught.value.type == "answer_too_large"


async def test_an_answer_is_read_piece_by_piece_while_it_comes() -> None:
    more = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=201, headers={"X-Kind": "painting"})
        await response.prepare(request)
        await response.write(b"first")
        await more.wait()
        await response.write(b"second")
        return response

    async with served(handler) as client, client.stream("GET", "/") as answer:
        assert (answer.status, answer.ok, answer.headers["x-kind"]) == (201, True, "painting")
        chunks = answer.chunks()
        assert await anext(chunks) == b"first"
        more.set()
        assert [chunk async for chunk in chunks] == [b"second"]


@pytest.mark.parametrize("announced", [True, False])
async def test_a_streamed_answer_is_read_up_to_the_limit_and_no_further(announced: bool) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if announced:
            response.content_length = 1_000_000
        await response.prepare(request)
        await response.write(b"x" * 1_000_000)
        return response

    taken = bytearray()

    async def take(client: RuntimeClient) -> None:
        async with client.stream("GET", "/", limit=500_000) as answer:
            async for chunk in answer.chunks():
                taken.extend(chunk)

    async with served(handler) as client:
        with pytest.raises(Unavailable) as caught:
            await take(client)
    assert caught.value.type == "answer_too_large"
    assert len(taken) <= 500_000


async def test_a_streamed_answer_that_is_cut_short_is_unavailable() -> None:
    async with talking(break_off) as client, client.stream("GET", "/") as answer:
        chunks = answer.chunks()
        assert await anext(chunks) == b"half"
        with pytest.raises(Unavailable, match="connection to the runtime broke"):
            await anext(chunks)


async def test_a_block_left_before_the_answers_end_closes_the_connection() -> None:
    closed = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await reader.read()
        closed.set()

    async with talking(talk) as client:
        with pytest.raises(ZeroDivisionError):
            async with client.stream("GET", "/"):
                raise ZeroDivisionError
        async with asyncio.timeout(90):
            await closed.wait()


async def test_a_time_limit_of_the_callers_own_within_the_block_stays_one() -> None:
    async with talking(break_off) as client:
        with pytest.raises(TimeoutError):
            async with client.stream("GET", "/"):
                raise TimeoutError


async def test_a_form_holds_its_fields_and_files() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.content_length
        sent = await request.post()
        file = sent["image"]
        assert isinstance(file, web.FileField)
        return web.json_response(
            [sent["size"], file.filename, file.content_type, file.file.read(9).decode()]
        )

    picture = Asset(b"the bytes", "image/png")
    async with served(handler) as client:
        body = form({"size": "8x8"}, [FormFile("image", picture, "a.png")])
        answer = await client.send("POST", "/", body=body)
    assert answer.json() == ["8x8", "a.png", "image/png", "the bytes"]


async def test_an_endless_answer_is_given_up_at_the_limit() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 1000)
            await writer.drain()

    async with talking(talk) as client:
        with pytest.raises(Unavailable, match="over 100000 bytes"):
            await client.send("GET", "/", limit=100_000)


async def hang_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await read_request(reader)


async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"nonsense\r\n\r\n")


async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")


async def keep_silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize(
    ("talk", "words"),
    [
        (hang_up, "connection to the runtime broke: Server disconnected"),
        (babble, "no HTTP that can be read: .*nonsense"),
        (break_off, "connection to the runtime broke: .*not completed"),
        (keep_silent, "does not answer"),
    ],
)
async def test_every_failure_of_the_connection_is_unavailable(talk: Talk, words: str) -> None:
    async with talking(talk) as client:
        with pytest.raises(Unavailable, match=f"(?s){words}"):
            await client.send("POST", "/", json={}, timeout=HASTY)


async def test_a_server_that_does_not_speak_tls_cannot_be_reached() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with talking(talk, "https") as client:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await client.send("GET", "/")


async def test_a_server_that_is_not_there_cannot_be_reached() -> None:
    client = RuntimeClient(NO_OPTIONS, "http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="cannot be reached"):
        await client.send("GET", "/")
    await client.aclose()


async def test_a_connection_that_the_server_closed_while_idle_is_not_used_again() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    async with talking(talk) as client, served(nothing) as other:
        for number in range(5):
            assert (await client.send("POST", "/", json=[number])).body == b"ok"
            await other.send("GET", "/")  # in the meantime the loop learns of the end


async def test_a_connection_is_kept_for_the_next_request_and_dropped_before_the_server_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests: list[int] = []
    dropped = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(requests)
        try:
            while True:
                await read_request(reader)
                requests.append(number)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        except asyncio.IncompleteReadError:
            dropped.set()

    async with talking(talk) as client:
        await client.send("GET", "/")
        await client.send("GET", "/")
    assert requests == [0, 0]
    dropped.clear()
    monkeypatch.setattr(http_client, "_KEEP_ALIVE", 0.01)
    async with talking(talk) as client:
        await client.send("GET", "/")
        async with asyncio.timeout(90):
            await dropped.wait()
        await client.send("GET", "/")
    assert requests == [0, 0, 2, 3]


async def test_any_number_of_requests_may_be_under_way() -> None:
    meeting = asyncio.Barrier(120)

    async def handler(request: web.Request) -> web.Response:
        await meeting.wait()
        return await nothing(request)

    async with served(handler) as client:
        calls = (client.send("GET", "/") for _ in range(meeting.parties))
        answers = await asyncio.gather(*calls)
    assert all(answer.ok for answer in answers)


def test_an_author_says_which_statuses_are_the_jobs_fault() -> None:
    lost = Response(404, b'{"error": "no such painting"}')
    assert isinstance(error_from(lost), Rejected)
    error = error_from(lost, faults_of_the_job={422})
    assert isinstance(error, Unavailable)
    assert error.message == "The runtime answered 404: no such painting"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
async def test_what_may_change_something_is_not_sent_twice(method: str) -> None:
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            asked.append(line.split()[0])
            if asked[-1] != b"GET":
                return
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with talking(talk) as client:
        await client.send("GET", "/")  # leaves a connection behind, which the next one takes
        with pytest.raises(RunLost):
            await client.send(method, "/")
    assert asked == [b"GET", method.encode()]
