"""Servers that take small messages only, and lists that are longer than one answer of theirs."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from nats.js.api import ConsumerConfig, StorageType, StreamConfig

from queue_agent.cloud import Deployment, Publication
from queue_agent.cloud.nats import NatsCloud
from queue_agent.cloud.nats.listing import subjects
from queue_agent.testing.cloud_contract.hooks import LONG, received
from queue_agent.testing.nats import NatsServer, deploy
from queue_agent.wire.errors import Unavailable

SMALLEST = 4096
"""Bytes; less than what is left to headers elsewhere."""
MORE_THAN_A_PAGE_OF_CONSUMERS = 260
MORE_THAN_A_PAGE_OF_SUBJECTS = 100_500


@pytest.fixture(params=[SMALLEST, 2**16])
def small(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[NatsServer]:
    configuration = f"max_payload: {request.param}\n"
    with NatsServer(tmp_path / "nats", configuration=configuration) as server:
        yield server


@pytest.fixture
async def cloud(small: NatsServer) -> AsyncIterator[NatsCloud]:
    cloud = small.connect()
    yield cloud
    await cloud.aclose()


@pytest.fixture
async def deployed(small: NatsServer, cloud: NatsCloud) -> Deployment:
    return await deploy(cloud, small.address, "dep")


async def test_images_are_stored_by_servers_that_take_small_messages_only(
    small: NatsServer, cloud: NatsCloud, deployed: Deployment
) -> None:
    image = bytes(range(256)) * 1200
    fresh = small.connect()  # who has heard of no limit yet
    for key, data in (("image", image), ("small", image[:40_000])):
        await fresh.bucket(deployed.bucket).write(key, data, media_type="image/png")
        assert await cloud.bucket(deployed.bucket).read(key) == data
    part = await cloud.bucket(deployed.bucket).read_range("image", 300_000, 500)
    assert part.data == image[300_000:300_500]
    await fresh.aclose()


async def test_jobs_that_fit_are_published_and_the_others_refused_by_their_size(
    cloud: NatsCloud, deployed: Deployment
) -> None:
    topic, queue = cloud.topic(deployed.job_topic), cloud.queue(deployed.queue_url)
    attributes = {"runtime": "dep"}
    await topic.check()
    room = topic.size_limit - sum(len(name) + len(value) for name, value in attributes.items())
    assert room > SMALLEST // 2
    await topic.publish("x" * (room - 100), attributes)
    (message,) = await received(queue, lease=LONG)
    assert len(message.body) == room - 100
    await queue.bury(message)


async def test_attributes_that_grow_on_their_way_end_no_connection(
    cloud: NatsCloud, deployed: Deployment
) -> None:
    """Three bytes stand for each of theirs that no header may hold."""
    topic = cloud.topic(deployed.job_topic)
    await topic.check()
    attributes = {"runtime": "dep", "of": "\u00e9" * (topic.size_limit // 5)}
    size = Publication("", attributes).size
    link = cloud.connection._link
    with pytest.raises(Unavailable, match="Could not publish"):
        await topic.publish("x" * (topic.size_limit - size), attributes)
    await topic.publish("fits", {"runtime": "dep"})
    (message,) = await received(cloud.queue(deployed.queue_url), lease=LONG)
    assert message.body == "fits"
    assert cloud.connection._link is link


async def test_a_job_as_large_as_messages_may_be_takes_no_turn_and_ends_no_connection(
    tmp_path: Path,
) -> None:
    """Its copy would be larger than what the server takes."""
    with NatsServer(tmp_path / "nats") as server:
        cloud = server.connect()
        deployed = await deploy(cloud, server.address, "dep")
        queue = cloud.queue(deployed.queue_url)
        place = f"{deployed.job_topic.rpartition('/')[2]}.dep.tenants."
        async with cloud.connection.exchange("publish") as client:
            stream = client.jetstream()
            for tenant, body in (("a", b"1"), ("a", b"2"), ("b", bytes(client.max_payload))):
                await stream.publish(place + tenant, body)
        link = cloud.connection._link
        bodies = []
        for _ in range(3):
            (message,) = await received(queue, lease=LONG)
            bodies.append(len(message.body))
            await queue.delete(message)
        assert sorted(bodies) == [1, 1, 2**20]
        assert cloud.connection._link is link
        await cloud.aclose()


async def test_a_runtime_beyond_the_first_page_of_consumers_is_known(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats", sync="2m") as server:
        cloud = server.connect()
        names = [f"runtime{number:03}" for number in range(MORE_THAN_A_PAGE_OF_CONSUMERS)]
        async with cloud.connection.using("make", seconds=LONG) as js:
            await js.add_stream(StreamConfig(name="jobs", subjects=["jobs.>"]))
            for name in names:
                await js.add_consumer(
                    "jobs", ConsumerConfig(durable_name=name, filter_subject=f"jobs.{name}")
                )
        routing = await cloud.topic(f"{server.address}/jobs").routing("runtime")
        assert routing is not None
        assert routing.values >= set(names)
        await cloud.aclose()


async def test_nothing_is_missing_from_a_list_of_more_subjects_than_an_answer_has(
    tmp_path: Path,
) -> None:
    with NatsServer(tmp_path / "nats", sync="2m") as server:
        cloud = server.connect()
        async with cloud.connection.using("fill", seconds=LONG) as js:
            await js.add_stream(
                StreamConfig(
                    name="KV_results", subjects=["$KV.results.>"], storage=StorageType.MEMORY
                )
            )
        async with cloud.connection.exchange("fill", seconds=LONG) as client:
            for number in range(MORE_THAN_A_PAGE_OF_SUBJECTS):
                await client.publish(f"$KV.results.output.{number:06}", b"")
            await client.flush(timeout=int(LONG))
        within = "$KV.results.>"

        async def listed() -> set[str]:
            return set(await subjects(cloud.connection, "list", "KV_results", within=within))

        async with asyncio.timeout(LONG):
            while len(found := await listed()) < MORE_THAN_A_PAGE_OF_SUBJECTS:
                pass
        assert f"$KV.results.output.{MORE_THAN_A_PAGE_OF_SUBJECTS - 1:06}" in found
        bucket = cloud.bucket(f"{server.address}/results")
        last = f"output/{MORE_THAN_A_PAGE_OF_SUBJECTS - 2:06}"
        assert await bucket.keys("output/", after=last) == [
            f"output/{MORE_THAN_A_PAGE_OF_SUBJECTS - 1:06}"
        ]
        await cloud.aclose()
