"""Answers that come and cannot be read: whoever sends them is there, and has not lost a run."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from queue_agent.runtime import RuntimeOptions
from queue_agent.runtime.http import Response, RuntimeClient, parse_json
from queue_agent.wire.errors import RunLost, Unavailable

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[RuntimeClient]:
    """The client of a server that says just that."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client = RuntimeClient(RuntimeOptions(base_url=url), url)
    try:
        yield client
    finally:
        await client.aclose()
        server.close()


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 8\r\n\r\nno gzip!",
        HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        HEAD + b"Content-Length: -1\r\n\r\n{}",
        HEAD + b"X: " + b"a" * 20_000 + b"\r\nContent-Length: 2\r\n\r\n{}",
        b"no HTTP at all\r\n\r\n",
    ],
    ids=["encoding", "two lengths", "negative length", "long header", "garbage"],
)
async def test_an_answer_that_cannot_be_read_is_no_run_lost(answer: bytes) -> None:
    async with answering(answer) as client:
        with pytest.raises(Unavailable, match="no HTTP that can be read") as caught:
            await client.send("POST", "/run")
    assert type(caught.value) is Unavailable
    assert caught.value.type == "invalid_answer"


@pytest.mark.parametrize("answer", [b"", HEAD, HEAD + b"Content-Length: 9\r\n\r\n{}"])
async def test_an_answer_that_breaks_off_is_a_run_lost(answer: bytes) -> None:
    async with answering(answer) as client:
        with pytest.raises(RunLost):
            await client.send("POST", "/run")


async def test_an_encoding_that_was_not_asked_for_is_read_where_it_can_be() -> None:
    body = gzip.compress(b"{}")
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with answering(head + body) as client:
        assert (await client.send("POST", "/run")).json() == {}


def test_a_byte_order_mark_before_json_is_ignored() -> None:
    marked = b"\xef\xbb\xbf" + b'{"a": 1}'
    assert parse_json(marked) == {"a": 1}
    assert Response(200, marked).json_object() == {"a": 1}
