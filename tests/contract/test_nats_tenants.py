"""Tenants of a queue on a real server: whose turn it is, and that nothing is lost by it."""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nats.js import JetStreamContext

from queue_agent.cloud import Message, Ordering, Queue
from queue_agent.cloud.nats import NatsCloud
from queue_agent.cloud.nats.addresses import NatsAddress
from queue_agent.cloud.nats.subjects import turns_subject
from queue_agent.cloud.nats.turns import SENT
from queue_agent.cloud.resources import Resources
from queue_agent.cloud.setting_up import dead_letters_of, set_up
from queue_agent.tasks import together
from queue_agent.testing.cloud_contract.hooks import LONG, received
from queue_agent.testing.nats import NatsServer
from queue_agent.testing.waiting import comes_to_hold
from queue_agent.wire.errors import Unavailable


async def made(nats_server: NatsServer, *, name: str = "", **wanted: Any) -> str:
    """The address of a queue."""
    name = name or f"jobs{secrets.token_hex(4)}"
    resources = Resources(
        queue_url=f"{nats_server.address}/{name}/sd 1",
        notification_topic=f"{nats_server.address}/{name}-told",
        max_receives=3,
    )
    await set_up(replace(resources, **wanted), lambda _: None, dry=False, change=True)
    return resources.queue_url


async def put(queue: Queue, tenant: str, count: int = 1, *, first: int = 0) -> None:
    await together(
        queue.send(f"{tenant} {number}", {}, Ordering(tenant=tenant))
        for number in range(first, first + count)
    )


async def until(queue: Queue, tenant: str | None, most: int = 50) -> list[Message]:
    """All that comes until something of that tenant does; the rest is acknowledged."""
    found: list[Message] = []
    while len(found) < most:
        found += await received(queue)
        if found[-1].tenant == tenant:
            return found
        await queue.delete(found[-1])
    raise AssertionError([message.body for message in found])


async def drained(queues: Sequence[Queue], count: int) -> Counter[str]:
    """What that many agents are given until so many jobs were acknowledged, by their messages."""
    given: dict[str, str] = {}

    async def work(queue: Queue) -> None:
        while len({*given.values()}) < count:
            for message in await queue.receive(1, wait=0.2, visibility_timeout=LONG):
                await asyncio.sleep(0)
                await queue.delete(message)
                assert message.id not in given
                given[message.id] = message.body

    await together(work(queue) for queue in queues)
    return Counter(given.values())


async def consumers(nats_cloud: NatsCloud, url: str) -> dict[str, tuple[int, int]]:
    """What waits and what is being worked on, by the consumers of the stream."""
    async with nats_cloud.connection.using("list consumers") as js:
        found = await js.consumers_info(NatsAddress.parse(url).stream)
    return {it.name: (it.num_pending or 0, it.num_ack_pending or 0) for it in found}


async def test_one_job_waits_for_two_of_a_tenant_with_a_thousand(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    queue = nats_cloud.queue(await made(nats_server))
    await put(queue, "many", 1000)
    await put(queue, "one")
    assert len(await until(queue, "one")) <= 3


async def test_jobs_of_nobody_take_turns_with_those_of_tenants(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    queue = nats_cloud.queue(await made(nats_server))
    await put(queue, "many", 50)
    await queue.send("nobody's", {})
    assert len(await until(queue, None)) <= 3


async def test_each_tenant_that_waits_has_a_turn_before_anyone_has_two_more(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    queue = nats_cloud.queue(await made(nats_server))
    await put(queue, "many", 40)
    for tenant in "abcdef":
        await put(queue, tenant, 2)
    found = [(await received(queue))[0].tenant for _ in range(2 * 7 + 5)]
    assert {tenant: found.count(tenant) for tenant in "abcdef"} == dict.fromkeys("abcdef", 2)


async def test_without_others_a_tenants_jobs_come_in_their_order(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    queue = nats_cloud.queue(await made(nats_server))
    for number in range(12):
        await put(queue, "one", first=number)
    found = await received(queue, 12)
    assert [message.body for message in found] == [f"one {number}" for number in range(12)]
    assert {message.receive_count for message in found} == {1}


async def test_several_agents_are_given_each_job_and_no_message_twice(
    nats_server: NatsServer,
) -> None:
    """A job that is put forward just when it is given out has two messages, each with its id."""
    url = await made(nats_server)
    clouds = [nats_server.connect() for _ in range(4)]
    try:
        queues = [cloud.queue(url) for cloud in clouds]
        for tenant, count in (("many", 80), ("a", 10), ("b", 10), ("größe .*>", 5)):
            await put(queues[0], tenant, count)
        bodies = await drained(queues, 105)
        assert len(bodies) == 105
        assert set(bodies.values()) <= {1, 2}
        for queue in queues:  # the second messages of some
            for message in await queue.receive(10, wait=0.2, visibility_timeout=LONG):
                await queue.delete(message)
        assert set((await consumers(clouds[0], url)).values()) == {(0, 0)}
    finally:
        await together(cloud.aclose() for cloud in clouds)


async def test_a_job_that_was_copied_and_not_removed_is_given_as_its_copy_alone(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    """Who puts a job forward may be gone before its original is."""
    url = await made(nats_server)
    queue, address = nats_cloud.queue(url), NatsAddress.parse(url)
    await put(queue, "one")
    async with nats_cloud.connection.using("copy a job") as js:
        original = await js.get_msg(address.stream, 1)
        headers = {**(original.headers or {}), SENT: "1.0", "Nats-Msg-Id": "copy"}
        subject = turns_subject(address.subject(), 1)
        await js.publish(subject, original.data or b"", headers=headers)
    given = [*await received(queue), *await queue.receive(9, wait=0.5, visibility_timeout=LONG)]
    assert [(message.body, message.sent_at) for message in given] == [("one 0", 1.0)]
    await queue.delete(given[0])
    assert set((await consumers(nats_cloud, url)).values()) == {(0, 0)}


async def test_all_that_waits_is_told_by_one_consumer_however_many_tenants_there_are(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    url = await made(nats_server)
    queue = nats_cloud.queue(url)
    for number in range(30):
        await put(queue, f"tenant {number}")
    await queue.send("nobody's", {})
    await comes_to_hold(queue, 31)
    name = NatsAddress.parse(url).consumer
    assert await consumers(nats_cloud, url) == {name: (31, 0), f"{name}~turns": (0, 0)}
    await received(queue, 6)
    assert sum(in_flight for _, in_flight in (await consumers(nats_cloud, url)).values()) == 6
    backlog = await queue.backlog()
    assert (backlog.waiting, backlog.in_flight) == (25, 6)


async def test_a_job_that_is_worked_on_is_put_forward_for_nobody_else(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    queue = nats_cloud.queue(await made(nats_server))
    await put(queue, "one")
    (held,) = await received(queue)
    await put(queue, "many", 20)
    others = await received(queue, 20)
    assert {message.tenant for message in others} == {"many"}
    await queue.delete(held)


async def test_what_was_put_forward_is_the_same_job_when_it_comes_again(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    queue = nats_cloud.queue(await made(nats_server))
    await put(queue, "many", 30)
    await queue.send("late", {"traceparent": "a b=c"}, Ordering(tenant="one"))
    first = (await until(queue, "one"))[-1]
    assert first.attributes == {"traceparent": "a b=c"}
    await queue.extend(first, 0)
    again = (await until(queue, "one"))[-1]
    assert (again.id, again.body, again.sent_at) == (first.id, "late", first.sent_at)
    assert (first.receive_count, again.receive_count) == (1, 2)


async def test_what_was_given_back_comes_again_while_others_take_turns(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    queue = nats_cloud.queue(await made(nats_server))
    await put(queue, "first")
    (message,) = await received(queue)
    await together(put(queue, f"tenant {number}", 2) for number in range(200))
    await queue.extend(message, 0)
    assert len(await until(queue, "first")) <= 6


async def test_dead_letters_know_their_tenant_and_go_back_to_his_place(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    url = await made(nats_server)
    queue, dead = nats_cloud.queue(url), nats_cloud.queue(dead_letters_of(url))
    await put(queue, "many", 20)
    await put(queue, "one")
    await queue.bury((await until(queue, "one"))[-1])
    (letter,) = await received(dead)
    assert (letter.body, letter.tenant) == ("one 0", "one")
    await queue.send(letter.body, letter.attributes, letter.ordering)
    assert len(await until(queue, "one")) <= 3


async def test_an_agent_that_ends_between_two_steps_loses_and_doubles_nothing(
    nats_server: NatsServer, nats_cloud: NatsCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is written, and its original still there."""
    url = await made(nats_server)
    queue = nats_cloud.queue(url)
    await put(queue, "many", 3)
    await put(queue, "one")

    async def ended(*_: Any) -> bool:
        raise ConnectionError("the connection is gone")

    monkeypatch.setattr(JetStreamContext, "delete_msg", ended)
    *others, held = await until(queue, "one")
    monkeypatch.undo()
    other = nats_server.connect()
    try:  # the original is among what comes, and is given to nobody
        bodies = await drained([other.queue(url)], 3 - len(others))
        assert await other.queue(url).receive(1, wait=0.1, visibility_timeout=LONG) == []
    finally:
        await other.aclose()
    assert "one 0" not in bodies
    await queue.delete(held)
    await comes_to_hold(queue, 0)


async def test_agents_that_may_put_nothing_forward_work_in_the_order_of_the_stream(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    denied = json.dumps(["jobs.*.turns.*"])
    users = f"""
    authorization: {{users: [
      {{user: operator, password: secret}},
      {{user: agent, password: secret, permissions: {{publish: {{deny: {denied}}}}}}}
    ]}}
    """
    with NatsServer(tmp_path, log=tmp_path / "server.log", configuration=users) as server:
        operator, agent = (
            NatsCloud([server.address], {"NATS_USER": user, "NATS_PASSWORD": "secret"})
            for user in ("operator", "agent")
        )
        try:
            with pytest.MonkeyPatch.context() as environment:
                environment.setenv("NATS_USER", "operator")
                environment.setenv("NATS_PASSWORD", "secret")
                url = await made(server, name="jobs")
            await put(operator.queue(url), "many", 3)
            await put(operator.queue(url), "one")
            bodies = [one.tenant for one in await received(agent.queue(url), 4)]
            assert bodies == ["many", "many", "many", "one"]
        finally:
            await operator.aclose()
            await agent.aclose()


async def test_a_queue_that_becomes_fair_keeps_what_waits_and_takes_what_comes(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    url = await made(nats_server, fair=False)
    name = NatsAddress.parse(url).stream
    before = nats_cloud.queue(url)
    await put(before, "many", 10)
    assert [message.tenant for message in await received(before)] == ["many"]
    await made(nats_server, name=name)
    later = nats_server.connect()
    try:
        await put(before, "many", 2, first=10)  # by who published before, and knows of nothing
        await put(later.queue(url), "one")
        found = await until(later.queue(url), "one")
        assert len(found) <= 3
        left = 12 - len(found)
        assert len(await drained([before, later.queue(url)], left)) == left
    finally:
        await later.aclose()


async def test_a_queue_may_be_made_without_turns_and_stays_so(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    url = await made(nats_server, fair=False)
    queue = nats_cloud.queue(url)
    await put(queue, "many", 5)
    await put(queue, "one")
    found = await until(queue, "one")
    assert [message.tenant for message in found] == ["many"] * 5 + ["one"]
    assert [*await consumers(nats_cloud, url)] == [NatsAddress.parse(url).consumer]


async def test_to_make_a_fair_queue_without_turns_changes_nothing(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    url = await made(nats_server)
    before = await consumers(nats_cloud, url)
    await made(nats_server, name=NatsAddress.parse(url).stream, fair=False)
    assert await consumers(nats_cloud, url) == before
    await put(nats_cloud.queue(url), "many", 20)
    await put(nats_cloud.queue(url), "one")
    assert len(await until(nats_cloud.queue(url), "one")) <= 3


async def test_tenants_of_each_priority_take_turns_for_themselves(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    url = await made(nats_server, priorities=("high",))
    topic = nats_cloud.topic(url.rpartition("/")[0])
    for tenant, count in (("many", 20), ("one", 1)):
        for _ in range(count):
            attributes = {"runtime": "sd 1", "priority": "high"}
            await topic.publish("x", attributes, Ordering(tenant=tenant))
    await topic.publish("usual", {"runtime": "sd 1"}, Ordering(tenant="one"))
    assert len(await until(nats_cloud.queue(f"{url}/high"), "one")) <= 3
    (usual,) = await received(nats_cloud.queue(url))
    assert usual.body == "usual"


async def test_notifications_have_no_place_of_a_tenant(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    url = await made(nats_server)
    told = f"{url.rpartition('/')[0]}-told"
    async with nats_cloud.topic(told).subscribe({"id": ["a"]}) as heard:
        attributes = {"runtime": "sd 1", "status": "completed", "id": "a"}
        await nats_cloud.topic(told).publish("done", attributes, Ordering(tenant="one"))
        assert await anext(heard) == "done"


async def test_a_topic_knows_the_runtimes_of_fair_queues(
    nats_server: NatsServer, nats_cloud: NatsCloud
) -> None:
    url = await made(nats_server)
    routing = await nats_cloud.topic(url.rpartition("/")[0]).routing("runtime")
    assert routing is not None
    assert routing.values == {"sd 1"}
    with pytest.raises(Unavailable):
        await nats_cloud.queue(f"{url}-absent").policy()
