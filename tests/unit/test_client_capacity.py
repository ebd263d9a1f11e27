"""Jobs with a deadline go to spot or on demand where their runtime has a queue for each."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from queue_agent.client import Client, make_job
from queue_agent.cloud.memory import FilterPolicy, MemoryCloud
from queue_agent.wire.capacity import SpotEstimate
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.submission import complete

SPOT: Final[FilterPolicy] = {
    "runtime": ["sd"],
    "capacity_type": [{"exists": False}, {"anything-but": ["on-demand"]}],
}
ON_DEMAND: Final[FilterPolicy] = {"runtime": ["sd"], "capacity_type": ["on-demand"]}
ESTIMATE: Final = SpotEstimate(job=300, start=100)
"""Done within 700 s there."""


def deployed(**queues: FilterPolicy) -> MemoryCloud:
    cloud = MemoryCloud()
    for name, policy in queues.items():
        cloud.topic("jobs").subscribe_queue(cloud.queue(name), policy, raw_delivery=True)
    return cloud


def client_of(cloud: MemoryCloud, spot: SpotEstimate = ESTIMATE) -> Client:
    return Client(cloud, job_topic="jobs", runtime="sd", spot=spot, spot_queue="spot")


def within(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def waiting(cloud: MemoryCloud, *names: str) -> Sequence[int]:
    return [(await cloud.queue(name).backlog()).waiting for name in names]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(None, [1, 0]), (3600, [1, 0]), (60, [0, 1]), (-60, [0, 1])],
)
async def test_a_near_deadline_goes_on_demand_and_all_else_to_spot(
    seconds: float | None, expected: list[int]
) -> None:
    cloud = deployed(spot=SPOT, demand=ON_DEMAND)
    deadline = None if seconds is None else within(seconds)
    await client_of(cloud).submit("a cat", deadline=deadline)
    assert await waiting(cloud, "spot", "demand") == expected


async def test_a_long_queue_at_spot_sends_jobs_on_demand() -> None:
    cloud = deployed(spot=SPOT, demand=ON_DEMAND)
    client = client_of(cloud, SpotEstimate(job=60, start=100))
    await client.submit_many([make_job({"prompt": str(number)}) for number in range(20)])
    await client.submit("urgent", deadline=within(600))
    assert await waiting(cloud, "spot", "demand") == [20, 1]


async def test_all_queues_at_spot_count() -> None:
    cloud = deployed(spot=SPOT, demand=ON_DEMAND)
    for queue, count in (("spot", 8), ("spot-high", 12)):
        for number in range(count):
            await cloud.queue(queue).send(str(number), {})
    spot = SpotEstimate(job=60, start=100)
    for queues, place in (("spot", [9, 0]), (["spot", "spot-high"], [9, 1])):
        client = Client(cloud, job_topic="jobs", runtime="sd", spot=spot, spot_queue=queues)
        await client.submit("urgent", deadline=within(900))
        assert await waiting(cloud, "spot", "demand") == place


async def test_what_says_its_capacity_goes_there() -> None:
    cloud = deployed(spot=SPOT, demand=ON_DEMAND)
    body = make_job({"prompt": "a"}, runtime="sd", deadline=within(1))
    for capacity in ("spot", "on-demand"):
        metadata = body.metadata.model_copy(update={"capacity_type": capacity})
        await client_of(cloud).submit(body.model_copy(update={"metadata": metadata}))
    assert await waiting(cloud, "spot", "demand") == [1, 1]


@pytest.mark.parametrize(
    "policies",
    [
        {"spot": {"runtime": ["sd"]}},
        {"spot": {}},
        {"spot": SPOT},
        {"spot": SPOT, "demand": {"runtime": ["other"], "capacity_type": ["on-demand"]}},
    ],
)
async def test_where_only_one_queue_takes_the_runtime_it_gets_every_job(
    policies: dict[str, FilterPolicy],
) -> None:
    cloud = deployed(**policies)
    await client_of(cloud).submit("urgent", deadline=within(1))
    assert (await waiting(cloud, "spot"))[0] == 1


async def test_one_queue_for_both_takes_what_says_either() -> None:
    cloud = deployed(spot={"runtime": ["sd"]})
    await cloud.topic("jobs").publish("x", {"runtime": "sd", "capacity_type": "on-demand"})
    assert await waiting(cloud, "spot") == [1]


async def test_a_publisher_that_knows_of_no_capacity_reaches_spot() -> None:
    cloud = deployed(spot=SPOT, demand=ON_DEMAND)
    await cloud.topic("jobs").publish("x", {"runtime": "sd"})
    assert await waiting(cloud, "spot", "demand") == [1, 0]


async def test_many_jobs_are_each_chosen_for() -> None:
    cloud = deployed(spot=SPOT, demand=ON_DEMAND)
    jobs = [make_job({"prompt": "a"}, deadline=within(it)) for it in (1, 3600, 2)]
    await client_of(cloud).submit_many(jobs)
    assert await waiting(cloud, "spot", "demand") == [1, 2]


async def test_who_may_not_look_publishes_to_spot_and_asks_once() -> None:
    cloud = deployed(spot=SPOT, demand=ON_DEMAND)
    cloud.faults.fail("topic.routing", Unavailable("no"), times=10)
    client = client_of(cloud)
    for _ in range(3):
        await client.submit("urgent", deadline=within(1))
    assert await waiting(cloud, "spot", "demand") == [3, 0]
    asked = [call.operation for call in cloud.calls].count("topic.routing")
    assert asked == 2, "for the runtime and for its capacity"


async def test_a_queue_that_cannot_be_asked_counts_as_empty() -> None:
    cloud = deployed(spot=SPOT, demand=ON_DEMAND)
    cloud.faults.fail("queue.backlog", Unavailable("no"))
    client = client_of(cloud)
    await client.submit("far", deadline=within(3600))
    await client.submit("near", deadline=within(1))
    assert await waiting(cloud, "spot", "demand") == [1, 1]


def test_a_capacity_that_there_is_not_is_refused() -> None:
    with pytest.raises(Rejected, match=r"metadata\.capacity_type"):
        complete({"metadata": {"capacity_type": "reserved"}, "content": {"prompt": "a"}})
