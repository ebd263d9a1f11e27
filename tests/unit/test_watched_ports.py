"""Whoever calls a port, its outcome is told: of every method, and of nothing else."""

import inspect

import pytest

from queue_agent.cloud import Bucket, Message, Queue, Topic
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.cloud.watched import WatchedCloud
from queue_agent.wire.errors import ObjectNotFound, Unavailable

AWAY = Unavailable("The cloud is away.", type="cloud_unavailable")


MESSAGE = Message("1", "{}", "receipt")
"""Stands for whatever is asked of a cloud that is away."""


class Told:
    def __init__(self) -> None:
        self.outcomes: list[tuple[str, Unavailable | None]] = []

    def __call__(self, operation: str, error: Unavailable | None) -> None:
        self.outcomes.append((operation, error))


@pytest.fixture
def cloud() -> MemoryCloud:
    return MemoryCloud()


@pytest.fixture
def told() -> Told:
    return Told()


async def test_answers_and_refusals_are_told_and_passed_on(cloud: MemoryCloud, told: Told) -> None:
    bucket = WatchedCloud(cloud, told).bucket("results")
    await bucket.write("key", b"data", media_type="text/plain")
    cloud.faults.fail("bucket.read", AWAY)
    with pytest.raises(Unavailable):
        await bucket.read("key")
    assert await bucket.read("key") == b"data"
    with pytest.raises(ObjectNotFound):
        await bucket.read("other")
    read = "bucket.read"
    assert told.outcomes == [("bucket.write", None), (read, AWAY), (read, None), (read, None)]
    assert bucket.url("key") == "s3://results/key"


@pytest.mark.parametrize(
    ("service", "port"), [("queue", Queue), ("topic", Topic), ("bucket", Bucket)]
)
async def test_every_method_of_a_port_that_asks_the_cloud_is_watched(
    cloud: MemoryCloud, told: Told, service: str, port: type
) -> None:
    watched = getattr(WatchedCloud(cloud, told), service)("name")
    cloud.faults.outage(AWAY)
    promised: frozenset[str] = getattr(port, "__abstractmethods__", frozenset())
    methods = [name for name in promised if inspect.iscoroutinefunction(getattr(port, name))]
    assert methods
    for name in methods:
        method = getattr(port, name)
        given = list(inspect.signature(method).parameters.values())[1:]
        needed = {one.name: MESSAGE for one in given if one.default is one.empty}
        with pytest.raises(Unavailable):
            await getattr(watched, name)(**needed)
    assert told.outcomes == [(f"{service}.{name}", AWAY) for name in methods]
