"""Three servers that keep everything three times: one, or two, of them are killed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from queue_agent.cloud import Deployment, Message, Ordering
from queue_agent.cloud.nats import NatsCloud
from queue_agent.testing.nats import NatsCluster, NatsServer, deploy
from queue_agent.testing.waiting import comes_to_hold, eventually
from queue_agent.wire.errors import LeaseLost, ObjectExists, Unavailable

LEASE = 5
"""Seconds; also for what a killed server had delivered and told nobody."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    with NatsCluster(tmp_path / "nats") as cluster:
        yield cluster


@pytest.fixture
async def cloud(cluster: NatsCluster) -> AsyncIterator[NatsCloud]:
    cloud = cluster.connect()
    await cluster.ready(cloud)
    yield cloud
    await cloud.aclose()


@pytest.fixture
async def deployed(cloud: NatsCloud, cluster: NatsCluster) -> Deployment:
    return await deploy(
        cloud,
        cluster.address,
        "dep",
        visibility_timeout=LEASE,
        max_receives=None,  # leases end often where servers are killed
        replicas=3,
    )


async def again_and_again(action: Callable[[], Awaitable[object]]) -> None:
    """Until the servers have chosen who answers."""

    async def succeeds() -> bool:
        try:
            await action()
        except Unavailable:
            return False
        return True

    await eventually(succeeds)


async def worked_off(cloud: NatsCloud, deployed: Deployment, count: int) -> list[Message]:
    """So many different messages, each acknowledged before the next are asked for."""
    queue = cloud.queue(deployed.queue_url)
    done: dict[str, Message] = {}

    async def some() -> bool:
        for message in await queue.receive(10, wait=1, visibility_timeout=LEASE):
            try:
                await queue.delete(message)
            except LeaseLost:
                continue
            done[message.body] = message
        return len(done) == count

    async def all_of_them() -> None:
        while not await some():
            pass

    await again_and_again(all_of_them)
    return list(done.values())


@pytest.mark.parametrize("leads", ["KV_dep-results", "dep-jobs"])
async def test_nothing_is_lost_of_what_was_acknowledged_while_a_leader_is_killed(
    cluster: NatsCluster, cloud: NatsCloud, deployed: Deployment, leads: str
) -> None:
    topic, bucket = cloud.topic(deployed.job_topic), cloud.bucket(deployed.bucket)
    everything = [deployed.queue_url, deployed.notification_topic]
    assert await cloud.durability(everything, bucket=deployed.bucket) == ""
    for number in range(5):
        await topic.publish(str(number), {"runtime": "dep"})
    for key, size in (("small", 1), ("large", 10**6)):
        await bucket.write(key, bytes(size), media_type="text/plain", create_only=True)
    (await cluster.leader(cloud, leads)).kill()
    for number in range(5, 10):
        await again_and_again(lambda body=str(number): topic.publish(body, {"runtime": "dep"}))  # type: ignore[misc]
    for key, size in (("small", 1), ("large", 10**6)):
        found: list[bytes] = []
        await again_and_again(lambda key=key, to=found: read(cloud, deployed, key, to))  # type: ignore[misc]
        assert found == [bytes(size)]
        with pytest.raises(ObjectExists):
            await bucket.write(key, b"another", media_type="text/plain", create_only=True)
    bodies = {message.body for message in await worked_off(cloud, deployed, 10)}
    assert bodies == set(map(str, range(10)))


async def read(cloud: NatsCloud, deployed: Deployment, key: str, to: list[bytes]) -> None:
    to.append(await cloud.bucket(deployed.bucket).read(key))


async def test_one_of_three_acknowledges_nothing_and_goes_on_when_another_is_back(
    cluster: NatsCluster, cloud: NatsCloud, deployed: Deployment
) -> None:
    topic, bucket = cloud.topic(deployed.job_topic), cloud.bucket(deployed.bucket)
    await topic.publish("before", {"runtime": "dep"})
    first, second, _ = cluster.servers.values()
    first.kill()
    second.kill()
    with pytest.raises(Unavailable):
        await bucket.write("meanwhile", b"", media_type="text/plain")
    await asyncio.to_thread(second.start)
    once = Ordering()  # by which one that was taken and not answered is known again
    await again_and_again(lambda: topic.publish("after", {"runtime": "dep"}, once))
    bodies = [message.body for message in await worked_off(cloud, deployed, 2)]
    assert sorted(bodies) == ["after", "before"]
    await comes_to_hold(cloud.queue(deployed.queue_url), 0)


async def test_a_watcher_goes_on_when_the_server_of_its_consumer_is_killed(
    cluster: NatsCluster, cloud: NatsCloud, deployed: Deployment
) -> None:
    watched = cloud.topic(deployed.notification_topic)
    heard: list[str] = []

    async def listen(bodies: AsyncIterator[str]) -> None:
        async for body in bodies:
            heard.append(body)  # noqa: PERF401  they are looked at meanwhile

    async with watched.subscribe({"id": ["a"]}) as bodies:
        listening = asyncio.create_task(listen(bodies))
        await watched.publish("before", {"id": "a"})
        await eventually(lambda: heard == ["before"])
        (await watching_server(cluster, cloud, "dep-notifications")).kill()
        await again_and_again(lambda: watched.publish("after", {"id": "a"}))
        await eventually(lambda: "after" in heard)
        listening.cancel()
        await asyncio.wait({listening})
    assert heard[0] == "before"


async def watching_server(cluster: NatsCluster, cloud: NatsCloud, stream: str) -> NatsServer:
    """That of the only consumer of the stream, which has no replicas."""
    async with cloud.connection.using("look") as js:
        (consumer,) = await js.consumers_info(stream)
    assert consumer.cluster is not None
    assert consumer.cluster.leader is not None
    return cluster.servers[consumer.cluster.leader]
