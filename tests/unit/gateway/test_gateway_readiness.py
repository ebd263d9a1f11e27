"""A gateway lives before its cloud answers, and says why it is not ready."""

import asyncio
import math

from gateway_bench import Gateways, client_of
from queue_agent.wire.errors import Unavailable

AWAY = Unavailable("The cloud is away.", type="cloud_unavailable")


async def test_a_gateway_whose_cloud_is_away_lives_and_says_what_is_missing(
    gateways: Gateways,
) -> None:
    gateways.cloud.faults.fail("topic.subscribe", AWAY, times=math.inf)
    async with client_of(await gateways.start()) as client:
        assert (await client.get("/healthz")).status_code == 200
        while not gateways.cloud.calls:  # noqa: ASYNC110  a cloud tells nobody
            await asyncio.sleep(0)
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "notifications": False,
        "reasons": {"notifications": "The cloud is away."},
    }


async def test_a_gateway_that_hears_notifications_is_ready(gateways: Gateways) -> None:
    app = await gateways.start()
    assert await app.state.listener.ready(patience=90)
    async with client_of(app) as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"notifications": True})
