"""Queues by priority on a real server: who gets which job."""

import secrets

from queue_agent.client import Client
from queue_agent.cloud.nats import NatsCloud
from queue_agent.cloud.resources import Resources
from queue_agent.cloud.setting_up import set_up
from queue_agent.testing.cloud_contract.hooks import received
from queue_agent.testing.nats import NatsServer


async def made(
    nats_server: NatsServer, *priorities: str, name: str = "", runtime: str = "sd 1"
) -> str:
    """The address of the usual queue of a runtime, which was set up with queues for these."""
    name = name or f"jobs{secrets.token_hex(4)}"
    wanted = Resources(
        queue_url=f"{nats_server.address}/{name}/{runtime}",
        notification_topic=f"{nats_server.address}/{name}-told",
        priorities=priorities,
        max_receives=2,
    )
    await set_up(wanted, lambda _: None, dry=False, change=True)
    return wanted.queue_url


async def publish(
    nats_cloud: NatsCloud, url: str, *priorities: str | None, runtime: str = "sd 1"
) -> None:
    client = Client(nats_cloud, job_topic=url.rpartition("/")[0])
    for priority in priorities:
        await client.submit("a", runtime=runtime, job_id=f"is-{priority}", priority=priority)


async def ids(nats_cloud: NatsCloud, url: str, count: int) -> list[str]:
    messages = await received(nats_cloud.queue(url), count)
    return sorted(one.attributes.get("priority", "none") for one in messages)


async def test_each_job_comes_by_the_queue_of_its_priority(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    url = await made(nats_server, "high", "low")
    await publish(nats_cloud, url, "high", None, "normal", "low")
    assert await ids(nats_cloud, f"{url}/high", 1) == ["high"]
    assert await ids(nats_cloud, url, 2) == ["none", "normal"]
    assert await ids(nats_cloud, f"{url}/low", 1) == ["low"]


async def test_what_has_no_queue_of_its_own_comes_by_the_usual_one(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    url = await made(nats_server, "high")
    await publish(nats_cloud, url, "high", "low")
    assert await ids(nats_cloud, url, 1) == ["low"]
    plain = await made(nats_server)
    await publish(nats_cloud, plain, "high", "low", "high")
    assert await ids(nats_cloud, plain, 3) == ["high", "high", "low"]


async def test_another_runtime_of_the_stream_needs_no_queues_by_priority(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    url = await made(nats_server, "high")
    stream = url.split("/")[-2]
    other = await made(nats_server, name=stream, runtime="flux")
    await publish(nats_cloud, other, "high", runtime="flux")
    assert await ids(nats_cloud, other, 1) == ["high"]


async def test_dead_letters_of_a_priority_are_its_own_and_go_back_to_its_queue(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    url = await made(nats_server, "high")
    await publish(nats_cloud, url, "high")
    queue = nats_cloud.queue(f"{url}/high")
    (message,) = await received(queue)
    await queue.bury(message)
    dead = nats_cloud.queue(f"{url.replace('/sd 1', '')}-dead/sd 1/high")
    (letter,) = await received(dead)
    await queue.send(letter.body, letter.attributes, letter.ordering)
    await dead.delete(letter)
    assert await ids(nats_cloud, f"{url}/high", 1) == ["high"]


async def test_queues_that_are_made_later_take_what_comes_from_then_on(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    url = await made(nats_server)
    await publish(nats_cloud, url, "high")
    await made(nats_server, "high", name=url.split("/")[-2])
    later = nats_server.connect()
    await publish(later, url, "high")
    await later.aclose()
    assert await ids(nats_cloud, url, 1) == ["high"]
    assert await ids(nats_cloud, f"{url}/high", 1) == ["high"]
