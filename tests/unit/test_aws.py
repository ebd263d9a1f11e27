"""The AWS ports against the emulator."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Sequence

import pytest

from queue_agent.cloud import Deployment, Message
from queue_agent.cloud.aws import AwsCloud
from queue_agent.testing.aws import EmbeddedCloud, deploy
from queue_agent.wire.errors import (
    LeaseLost,
    ObjectExists,
    ObjectNotFound,
    Rejected,
    Unavailable,
)


@pytest.fixture
async def cloud(embedded_cloud: EmbeddedCloud) -> AsyncIterator[AwsCloud]:
    connected = embedded_cloud.connect()
    yield connected
    await connected.aclose()


@pytest.fixture
async def deployment(cloud: AwsCloud) -> Deployment:
    return await deploy(cloud, f"ports-{secrets.token_hex(4)}", max_receives=7)


async def receive(cloud: AwsCloud, deployment: Deployment, count: int) -> Sequence[Message]:
    queue = cloud.queue(deployment.queue_url)
    found: list[Message] = []
    while len(found) < count:
        found += await queue.receive(count, wait=5, visibility_timeout=30)
    return found


async def test_a_queues_policy_is_read(cloud: AwsCloud, deployment: Deployment) -> None:
    policy = await cloud.queue(deployment.queue_url).policy()
    assert (policy.visibility_timeout, policy.max_receives) == (30, 7)


@pytest.fixture
async def batching(embedded_cloud: EmbeddedCloud) -> AsyncIterator[AwsCloud]:
    """The same cloud by a client whose calls wait for each other."""
    connected = embedded_cloud.connect(batching=lambda: True)
    yield connected
    await connected.aclose()


async def test_calls_that_come_together_reach_the_queue_and_topic(
    batching: AwsCloud, deployment: Deployment
) -> None:
    jobs = batching.topic(deployment.job_topic)
    attributes = {"runtime": deployment.runtime_name}
    await asyncio.gather(*(jobs.publish(json.dumps({"n": n}), attributes) for n in range(12)))
    messages = await receive(batching, deployment, 12)
    queue = batching.queue(deployment.queue_url)
    await asyncio.gather(*(queue.extend(message, 60) for message in messages))
    assert await queue.receive(10, wait=0, visibility_timeout=5) == []
    await asyncio.gather(*(queue.delete(message) for message in messages))
    backlog = await queue.backlog()
    assert (backlog.waiting, backlog.in_flight) == (0, 0)


@pytest.mark.parametrize("client", ["cloud", "batching"])
async def test_a_receipt_that_is_no_longer_valid_is_a_lost_lease(
    client: str, deployment: Deployment, cloud: AwsCloud, batching: AwsCloud
) -> None:
    queue = {"cloud": cloud, "batching": batching}[client].queue(deployment.queue_url)
    await queue.send("x", {})
    await queue.send("y", {})
    known, gone = await receive(cloud, deployment, 2)
    await queue.delete(gone)
    results = await asyncio.gather(
        queue.extend(known, 10), queue.extend(gone, 10), return_exceptions=True
    )
    assert results[0] is None
    assert isinstance(results[1], LeaseLost)


async def test_an_unknown_queue_is_unavailable_with_the_reason(cloud: AwsCloud) -> None:
    with pytest.raises(Unavailable, match="read the queue's attributes"):
        await cloud.queue("http://127.0.0.1:1/123456789012/none").policy()


async def test_create_only_writes_never_replace(cloud: AwsCloud, deployment: Deployment) -> None:
    bucket = cloud.bucket(deployment.bucket)
    await bucket.write("a/b", b"first", media_type="text/plain", create_only=True)
    with pytest.raises(ObjectExists):
        await bucket.write("a/b", b"second", media_type="text/plain", create_only=True)
    assert await bucket.read("a/b") == b"first"


async def test_an_object_that_is_not_there_is_told_from_one_that_is(
    cloud: AwsCloud, deployment: Deployment
) -> None:
    bucket = cloud.bucket(deployment.bucket)
    assert not await bucket.exists("a")
    with pytest.raises(ObjectNotFound):
        await bucket.read("a")
    await bucket.write("a", b"x", media_type="text/plain")
    assert await bucket.exists("a")
    await bucket.delete("a")
    await bucket.delete("a")
    assert not await bucket.exists("a")


async def test_objects_are_listed_by_the_names_they_were_given(
    cloud: AwsCloud, deployment: Deployment
) -> None:
    bucket = cloud.bucket(deployment.bucket)
    names = ["listed/%41", "listed/-._", "listed/a b+c", "listed/ünï/c"]
    for name in (*names, "list", "others/a"):
        await bucket.write(name, b"", media_type="text/plain")
    assert sorted(await bucket.keys("listed/")) == sorted(names)
    assert len(await bucket.keys("listed/", limit=2)) == 2


async def test_an_object_larger_than_the_limit_is_refused(
    cloud: AwsCloud, deployment: Deployment
) -> None:
    bucket = cloud.bucket(deployment.bucket)
    await bucket.write("large", bytes(100), media_type="text/plain")
    assert len(await bucket.read("large", limit=100)) == 100
    with pytest.raises(Rejected):
        await bucket.read("large", limit=99)


async def test_subscribers_hear_what_their_filter_lets_through(
    cloud: AwsCloud, deployment: Deployment
) -> None:
    topic = cloud.topic(deployment.notification_topic)
    async with topic.subscribe({"id": ["mine"]}) as bodies:
        await topic.publish("not for me", {"id": "other"})
        await topic.publish("for me", {"id": "mine"})
        assert await anext(bodies) == "for me"
    sns = await cloud.client("sns")
    left = await sns.list_subscriptions_by_topic(TopicArn=deployment.notification_topic)
    assert left["Subscriptions"] == []
