"""What operators have paused is told by the gateway, and a paused tenant's jobs are refused."""

import math
from typing import Any

import pytest

from gateway_bench import Gateways, client_of
from queue_agent.gateway import pauses as gateway_pauses
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.layout import pauses_key
from queue_agent.wire.pause import Pause, Pauses

KEY = pauses_key("sdruntime")
JOB = {"content": {"prompt": "a cat"}}


def put(gateways: Gateways, *pauses: Pause) -> None:
    gateways.bucket.put(KEY, Pauses(pauses=pauses).to_json())


@pytest.fixture(autouse=True)
def seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_pauses, "_AGE", 0.0)


async def told(client: Any) -> list[str]:
    (runtime,) = (await client.get("/v1/runtimes")).json()["runtimes"]
    paused: list[str] = runtime["paused"]
    return paused


async def test_a_paused_runtime_is_told_and_takes_jobs_that_wait(gateways: Gateways) -> None:
    app = await gateways.start()
    async with client_of(app) as client:
        assert await told(client) == []
        put(gateways, Pause(reason="new nodes"), Pause(model="old"), Pause(tenant="one"))
        assert await told(client) == ["the runtime (new nodes)", "model old"]
        assert (await client.post("/v1/jobs", json=JOB)).status_code == 202


async def test_a_paused_tenants_jobs_are_refused_with_the_reason_and_others_taken(
    gateways: Gateways,
) -> None:
    app = await gateways.start(keys=True)
    put(gateways, Pause(tenant="one", reason="unpaid"), Pause(tenant="two", model="old"))
    async with client_of(app, "one") as one, client_of(app, "two") as two:
        refused = await one.post("/v1/jobs", json=JOB)
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "3600"
        problem = refused.json()
        assert problem["type"] == "urn:queue-agent:problem:tenant-paused"
        assert problem["detail"].endswith("the jobs of one at sdruntime: unpaid")
        assert (await two.post("/v1/jobs", json=JOB)).status_code == 202
        assert await told(two) == [], "nobody is told of others"
        put(gateways)
        assert (await one.post("/v1/jobs", json=JOB)).status_code == 202
    assert len(gateways.cloud.topic("jobs").published) == 2


async def test_a_tenant_that_is_refused_uses_up_none_of_its_quota(gateways: Gateways) -> None:
    app = await gateways.start(keys=True)
    put(gateways, Pause(tenant="once"))
    async with client_of(app, "once") as once:
        for _ in range(3):
            assert (await once.post("/v1/jobs", json=JOB)).status_code == 503
        put(gateways)
        assert (await once.post("/v1/jobs", json=JOB)).status_code == 202


async def test_a_gateway_that_sees_no_pauses_works_and_keeps_what_it_knew(
    gateways: Gateways,
) -> None:
    app = await gateways.start(keys=True)
    put(gateways, Pause(tenant="one"))
    async with client_of(app, "one") as one, client_of(app, "two") as two:
        assert (await one.post("/v1/jobs", json=JOB)).status_code == 503
        gateways.cloud.faults.fail("bucket.read", Unavailable("no"), times=math.inf, matching=KEY)
        assert (await one.post("/v1/jobs", json=JOB)).status_code == 503
        assert (await two.post("/v1/jobs", json=JOB)).status_code == 202
