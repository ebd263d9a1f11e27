"""A gateway lives before its cloud answers, and says why it is not ready."""

import asyncio
import math
from datetime import datetime

import pytest
from structlog.testing import capture_logs

from gateway_bench import Gateways, client_of
from queue_agent.cloud.memory import ManualClock, MemoryCloud
from queue_agent.gateway import app as gateway_app
from queue_agent.telemetry.refusals import CloudRefusals
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
        "topic": True,
        "bucket": True,
        "reasons": {"notifications": "cloud_unavailable"},  # anyone may ask
    }


async def test_a_gateway_notes_its_jobs_by_the_clouds_clock(gateways: Gateways) -> None:
    clock = ManualClock()
    gateways.cloud = MemoryCloud(clock)
    job = {"metadata": {"runtime": "sdruntime"}, "content": {"prompt": "a lighthouse"}}
    async with client_of(await gateways.start()) as client:
        answer = await client.post("/v1/jobs", json=job)
    assert answer.status_code == 202
    submitted = datetime.fromisoformat(answer.json()["submitted_at"])
    assert submitted.timestamp() == clock.now()


async def test_a_gateway_that_hears_notifications_is_ready(gateways: Gateways) -> None:
    app = await gateways.start()
    assert await app.state.listener.ready(patience=90)
    async with client_of(app) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"notifications": True, "topic": True, "bucket": True}


async def test_a_gateway_whose_bucket_refuses_for_long_says_so_until_it_answers(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(gateway_app, "CloudRefusals", lambda: CloudRefusals(clock=lambda: now))
    forbidden = Unavailable("Access Denied to arn:aws:s3:::b", type="cloud_unauthorized")
    gateways.cloud.faults.fail("bucket.read", forbidden, times=2)
    app = await gateways.start()
    assert await app.state.listener.ready(patience=90)
    async with client_of(app) as client:
        with capture_logs() as lines:
            assert (await client.get("/v1/jobs/order-1")).status_code == 503
            now = 31.0
            assert (await client.get("/v1/jobs/order-1")).status_code == 503
        refused = await client.get("/readyz")
        assert (await client.get("/v1/jobs/order-1")).status_code == 404
        assert (await client.get("/readyz")).status_code == 200
    assert refused.status_code == 503
    assert refused.json()["reasons"] == {"bucket": "cloud_unauthorized"}
    said = [line for line in lines if line["event"] == "cloud refuses"]
    assert [(line["service"], line["reason"]) for line in said] == [("bucket", forbidden.message)]
