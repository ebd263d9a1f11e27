"""The gateway sends jobs to spot or on demand where their runtime has a queue for each."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import ValidationError

from gateway_bench import Gateways, client_of
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.wire.capacity import SpotEstimate
from queue_agent.wire.errors import SettingsError

SEVERAL = "https://sqs.eu-central-1.amazonaws.com/123456789012"
RUNTIMES = ("sdruntime=https://sqs.eu-central-1.amazonaws.com/123456789012/spot", "other")


def within(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def capacity_of(gateways: Gateways, app: FastAPI, **metadata: Any) -> str | None:
    """The attribute that a job is published with."""
    async with client_of(app) as client:
        body = {"metadata": metadata, "content": {"prompt": "a"}}
        assert (await client.post("/v1/jobs", json=body)).status_code == 202
    return gateways.cloud.topic("jobs").published[-1].attributes.get("capacity_type")


async def start(gateways: Gateways, **settings: Any) -> FastAPI:
    usual: dict[str, Any] = {"runtimes": RUNTIMES, "on_demand": ("sdruntime",), "job_seconds": 300}
    return await gateways.start(**usual | settings)


async def test_near_deadlines_go_on_demand_and_all_else_to_spot(gateways: Gateways) -> None:
    app = await start(gateways)
    assert await capacity_of(gateways, app, deadline=within(60)) == "on-demand"
    assert await capacity_of(gateways, app, deadline=within(7200)) is None
    assert await capacity_of(gateways, app) is None
    assert await capacity_of(gateways, app, deadline=within(60), capacity_type="spot") == "spot"


async def test_a_runtime_with_one_queue_has_no_choice(gateways: Gateways) -> None:
    app = await start(gateways)
    assert await capacity_of(gateways, app, runtime="other", deadline=within(60)) is None


async def test_the_length_of_the_spot_queue_counts(gateways: Gateways) -> None:
    queue = gateways.cloud.queue(RUNTIMES[0].partition("=")[2])
    app = await start(gateways, job_seconds=10)
    for number in range(100):
        await queue.send(str(number), {})
    assert await capacity_of(gateways, app, deadline=within(600)) == "on-demand"
    assert await capacity_of(gateways, app, deadline=within(2000)) is None


async def test_all_queues_of_a_runtime_count_for_the_place_of_a_job(gateways: Gateways) -> None:
    urls = [f"{SEVERAL}/{name}" for name in ("high", "usual", "low")]
    app = await start(gateways, runtimes=tuple(f"sd={url}" for url in urls), on_demand=())
    for count, url in enumerate(urls, start=1):
        for number in range(count):
            await gateways.cloud.queue(url).send(str(number), {})
    async with client_of(app) as client:
        (runtime,) = (await client.get("/v1/runtimes")).json()["runtimes"]
        assert runtime["queue"] == {"waiting": 6, "in_flight": 0}
        job = (await client.post("/v1/jobs", json={"content": {"prompt": "a"}})).json()
        told = (await client.get(f"/v1/jobs/{job['id']}")).json()
    assert told["queue"]["position"] == 5, "the job itself reached none of them"


def test_a_gateway_is_told_several_queues_of_a_runtime() -> None:
    names = (
        "a",
        "b=https://sqs.eu-west-1.amazonaws.com/1/x",
        "a=https://sqs.eu-west-1.amazonaws.com/1/y",
    )
    settings = GatewaySettings.model_construct(
        runtimes=(*names, names[1], "b=nats://h:4222/jobs/b")
    )
    assert settings.queues == {
        "a": ("https://sqs.eu-west-1.amazonaws.com/1/y",),
        "b": ("https://sqs.eu-west-1.amazonaws.com/1/x", "nats://h:4222/jobs/b"),
    }
    served = GatewaySettings.load(
        {
            "QUEUE_AGENT_JOB_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:jobs",
            "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:news",
            "QUEUE_AGENT_BUCKET": "images",
            "QUEUE_AGENT_RUNTIME_NAME": "sd",
            "QUEUE_AGENT_QUEUES": f"high:3={SEVERAL}/high,low={SEVERAL}/low",
        }
    )
    assert served.queues == {"sd": (f"{SEVERAL}/high", f"{SEVERAL}/low")}


def test_what_is_on_demand_is_on_offer() -> None:
    with pytest.raises((SettingsError, ValidationError), match="GATEWAY_ON_DEMAND: 'sd'"):
        GatewaySettings.load(
            {
                "QUEUE_AGENT_JOB_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:jobs",
                "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:news",
                "QUEUE_AGENT_BUCKET": "images",
                "QUEUE_AGENT_GATEWAY_RUNTIMES": "one,two",
                "QUEUE_AGENT_GATEWAY_ON_DEMAND": "one,sd",
            }
        )


def test_what_is_known_of_spot_is_set() -> None:
    settings = GatewaySettings.model_construct(
        job_seconds=7, pod_start=60, on_demand_stays=True, runtimes=("a",)
    )
    assert settings.spot == SpotEstimate(7, 60, on_demand_stays=True)
