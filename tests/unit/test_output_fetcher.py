"""Outputs that a runtime names by URL, fetched from real servers on the loopback interface."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from queue_agent.runtime import Asset, RuntimeOptions, Spools
from queue_agent.runtime.http import OutputFetcher, RuntimeClient
from queue_agent.testing import sample_png
from queue_agent.wire.errors import RuntimeAway, Unavailable

PNG = sample_png()
LOOPBACK = ("127.0.0.1/32",)


async def answer(request: web.Request) -> web.Response:
    match request.path:
        case "/out/missing.png":
            return web.Response(status=404)
        case "/out/later.png":
            return web.Response(status=503, headers={"Retry-After": "12"})
        case "/out/elsewhere.png":
            raise web.HTTPFound("/out/picture.png")
        case "/out/round.png":
            raise web.HTTPFound("/out/round.png")
        case "/out/secret.png":
            known = request.headers.get("authorization") == "Bearer key"
            return web.Response(body=PNG if known else b"", status=200 if known else 401)
        case "/out/stranger.png":
            return web.Response(body=PNG, status=401 if "authorization" in request.headers else 200)
    return web.Response(body=PNG, content_type="text/plain")


@asynccontextmanager
async def store() -> AsyncIterator[str]:
    """The address of a server that has outputs."""
    application = web.Application()
    application.add_routes([web.get("/{path:.*}", answer)])
    async with TestServer(application, host="127.0.0.1") as server:
        yield f"{server.make_url('/out')}"


async def fetched(
    url: str, *hosts: str, runtime: str = "http://127.0.0.1:9", limit: int = 2**20
) -> Asset:
    options = RuntimeOptions(base_url=runtime, api_key="key", output_hosts=hosts)
    client = RuntimeClient(options, "")
    fetcher = OutputFetcher(options, client, limit=limit)
    try:
        with Spools() as spools:
            return await fetcher.fetch(url, spools.new())
    finally:
        await fetcher.aclose()
        await client.aclose()


async def test_an_output_of_a_trusted_host_is_what_its_bytes_are() -> None:
    async with store() as url:
        for name in ("picture.png", "elsewhere.png", "stranger.png"):
            output = await fetched(f"{url}/{name}", *LOOPBACK)
            assert (output.data, output.media_type) == (PNG, "image/png")


async def test_an_output_below_the_runtimes_own_address_is_asked_for_with_its_credentials() -> None:
    async with store() as url:
        assert (await fetched(f"{url}/secret.png?size=8", runtime=url)).data == PNG


@pytest.mark.parametrize("near", ["http://127.0.0.1.evil.test/a.png", "http://127.0.0.1@[::1]/a"])
async def test_what_only_begins_like_the_runtimes_address_is_not_the_runtime(near: str) -> None:
    with pytest.raises(Unavailable) as caught:
        await fetched(near, runtime="http://127.0.0.1")
    assert caught.value.type in {"output_forbidden", "output_unavailable"}  # or no such host


@pytest.mark.parametrize(
    "url",
    [
        "{store}/picture.png",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost/a.png",
        "file:///etc/passwd",
        "https://user:word@example.com/a.png",
    ],
)
async def test_an_output_is_fetched_from_nowhere_else(url: str) -> None:
    async with store() as place:
        with pytest.raises(Unavailable) as caught:
            await fetched(url.format(store=place))
    assert caught.value.type == "output_forbidden"


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("missing.png", "output_unavailable", "HTTP 404"),
        ("round.png", "output_unavailable", "redirected more than 3 times"),
        ("picture.png?token=secret", "answer_too_large", "more than 9 bytes"),
    ],
)
async def test_an_output_that_does_not_come_is_no_fault_of_the_job(
    name: str, kind: str, words: str
) -> None:
    async with store() as url:
        with pytest.raises(Unavailable, match=words) as caught:
            await fetched(f"{url}/{name}", *LOOPBACK, limit=9)
    assert caught.value.type == kind
    assert "secret" not in caught.value.message


async def test_a_runtime_that_refuses_its_own_output_says_so() -> None:
    async with store() as url:
        with pytest.raises(Unavailable, match="404"):
            await fetched(f"{url}/missing.png", runtime=url)
    with pytest.raises(RuntimeAway):
        await fetched("http://127.0.0.1:9/a.png")


@pytest.mark.parametrize("own", [True, False])
async def test_an_output_that_is_to_come_later_is_asked_for_then(*, own: bool) -> None:
    async with store() as url:
        with pytest.raises(Unavailable, match="503") as caught:
            await fetched(
                f"{url}/later.png", *LOOPBACK, runtime=url if own else "http://127.0.0.1:9"
            )
    assert caught.value.retry_after == 12
