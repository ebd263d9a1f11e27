"""A thousand requests, in `make fuzz` more, made up from the gateway's own description."""

import asyncio
import base64
import math
import secrets
import threading
from collections.abc import Iterator
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import one_of
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from fuzz.fuzzing import FACTOR
from gateway_site import Site
from queue_agent.cloud import Cloud, Deployment
from queue_agent.runtime import Artifact, OfferedModel, OfferedSampler, Output
from queue_agent.testing.aws import deploy
from queue_agent.wire.job import open_envelope, parse_job
from queue_agent.wire.layout import offer_key
from queue_agent.wire.offer import Offer
from queue_agent.worker.delivery import Delivery
from queue_agent.worker.lease import Lease
from queue_agent.worker.slots import Slots
from queue_agent.worker.store import ResultStore

CASES: Final = 1000 * max(1, FACTOR)
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
PIXEL: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def instant(site: Site) -> Iterator[Deployment]:
    """A deployment whose jobs are all completed at once, whatever they ask for."""
    stop, ready = threading.Event(), threading.Event()
    found: list[Deployment] = []

    async def answer_all() -> None:
        cloud = site.embedded.connect()
        try:
            found.append(await deploy(cloud, f"fuzz-{secrets.token_hex(4)}"))
            await _tell_offer(cloud, found[0])
            ready.set()
            while not stop.is_set():
                await _answer_some(cloud, found[0])
        finally:
            await cloud.aclose()

    thread = threading.Thread(target=lambda: asyncio.run(answer_all()))
    thread.start()
    assert ready.wait(120), "no deployment"
    yield found[0]
    stop.set()
    thread.join()


async def _tell_offer(cloud: Cloud, deployment: Deployment) -> None:
    """What an agent says, without which lists are answered 503."""
    name = deployment.runtime_name
    offer = Offer(
        runtime=name,
        adapter="webui",
        models=(OfferedModel(name="a"),),
        samplers=(OfferedSampler(name="Euler"),),
    )
    bucket = cloud.bucket(deployment.bucket)
    await bucket.write(offer_key(name), offer.to_json(), media_type="application/json")


async def _answer_some(cloud: Cloud, deployment: Deployment) -> None:
    queue, topic = cloud.queue(deployment.queue_url), cloud.topic(deployment.notification_topic)
    store = ResultStore(cloud.bucket(deployment.bucket), runtime_name="fuzz", patience=5)
    slots = Slots(concurrency=1)
    for message in await queue.receive(10, wait=1, visibility_timeout=30):
        job = parse_job(open_envelope(message.body, message.attributes).payload)
        result = await store.find(job)
        if result is None:
            output = Output((Artifact(PIXEL, "image/png", seed=1),))
            delivery = Delivery(message, Lease(queue, message, duration=30), slots.add())
            delivery.parsed(job)
            result = await store.store(delivery, output)
        notification = result.notification()
        await topic.publish(notification.to_json(), notification.attributes())
        await queue.delete(message)


@pytest.fixture(scope="module")
def described(site: Site, instant: Deployment) -> Any:
    gateway = site.start_gateway(
        **instant.environment(), QUEUE_AGENT_JOB_TOPIC_ARN=instant.job_topic
    )
    return schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")


@pytest.mark.timeout(900)
def test_no_request_makes_the_gateway_fail(described: Any) -> None:
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) >= 10
    share = math.ceil(CASES / len(operations))
    assert sum(_try(operation, cases=share) for operation in operations) >= CASES


def _try(operation: Any, *, cases: int) -> int:
    """Ask as the description says one may, and otherwise; how often."""
    asked = 0
    kinds = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

    @given(case=one_of(kinds))
    @settings(
        max_examples=cases,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    def ask(case: Any) -> None:
        nonlocal asked
        asked += 1
        case.call_and_validate(checks=CHECKS)

    ask()
    return asked
