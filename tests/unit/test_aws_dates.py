"""The AWS cloud takes its time from whatever is answered, refusals included."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email.utils import formatdate

import pytest
from aiohttp import web

from queue_agent.cloud.aws import AwsCloud
from queue_agent.testing.process import HOST, free_port
from queue_agent.wire.errors import QueueAgentError

pytestmark = pytest.mark.usefixtures("sdk_loaded_once")

HOUR = 3600.0


@asynccontextmanager
async def dated(*dates: str, status: int = 200) -> AsyncIterator[AwsCloud]:
    """A cloud whose server dates its answers so, one after another; the last holds."""
    waiting = list(dates)

    async def answer(_request: web.Request) -> web.Response:
        date = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return web.Response(status=status, headers={"Date": date})

    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    cloud = AwsCloud(
        "us-east-1",
        endpoint_url=f"http://{HOST}:{port}",
        aws_access_key_id="id",
        aws_secret_access_key="secret",
    )
    try:
        await web.TCPSite(runner, HOST, port).start()
        yield cloud
    finally:
        await cloud.aclose()
        await runner.cleanup()


@pytest.mark.parametrize("status", [200, 403, 404])
@pytest.mark.parametrize("offset", [HOUR, -HOUR])
async def test_the_date_of_an_answer_tells_the_clouds_time(status: int, offset: float) -> None:
    async with dated(formatdate(time.time() + offset, usegmt=True), status=status) as cloud:
        assert abs(cloud.now() - time.time()) < 1
        with suppress(QueueAgentError):
            await cloud.bucket("results").exists("key")
        assert abs(cloud.now() - time.time() - offset) < 30


@pytest.mark.parametrize("date", ["", "yesterday", "Tue, 99 Nov 2026 99:99:99 GMT", "1767225600"])
async def test_a_date_that_is_none_is_no_time(date: str) -> None:
    async with dated(date) as cloud:
        await cloud.bucket("results").exists("key")
        assert abs(cloud.now() - time.time()) < 1


async def test_the_queues_time_comes_before_the_stores() -> None:
    store, queue = (formatdate(time.time() + offset, usegmt=True) for offset in (-HOUR, HOUR))
    async with dated(store, queue, status=403) as cloud:
        with suppress(QueueAgentError):
            await cloud.bucket("results").exists("key")
        with suppress(QueueAgentError):
            await cloud.queue(f"http://{HOST}/1/jobs").backlog()
        assert abs(cloud.now() - time.time() - HOUR) < 30
