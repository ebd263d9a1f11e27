"""What the ports on NATS make of servers that die, stop, refuse, or are not what was asked for."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

from nats_filling import ROOM, filled
from nats_proxy import NatsProxy, Sent
from queue_agent.cloud import Deployment
from queue_agent.cloud.nats import NatsCloud, connection, making, pulling, watching
from queue_agent.cloud.nats.addresses import NatsAddress
from queue_agent.cloud.nats.errors import translated
from queue_agent.cloud.ports import TO_BE_ANSWERED
from queue_agent.testing.cloud_contract.hooks import LONG, received
from queue_agent.testing.fault_proxy import Exchange, Fault
from queue_agent.testing.nats import NatsServer, deploy
from queue_agent.testing.waiting import SOON, comes_to_hold, eventually
from queue_agent.wire.errors import LeaseLost, ObjectExists, Unanswered, Unavailable
from tls_servers import certified

NAME = "sdxl-1.0"
USERS = """
authorization {
  users: [
    {user: all, password: secret}
    {user: reader, password: secret, permissions: {
      publish: {allow: ["$JS.API.STREAM.INFO.*", "$JS.API.CONSUMER.INFO.>"]}
      subscribe: {allow: ["_INBOX.>"]}
    }}
    {user: agent, password: secret, permissions: {
      publish: {allow: [
        "$JS.API.>", "$JS.ACK.dep-jobs.>", "dep-dead.>", "dep-notifications.>",
        "$KV.dep-results.>", "$O.dep-results.>",
      ]}
      subscribe: {allow: ["_INBOX.>"]}
    }}
  ]
}
"""
"""The agent may do what docs/nats.md says."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats", log=tmp_path / "server.log") as server:
        yield server
        if server.lives:
            server.send_signal(signal.SIGCONT)


@pytest.fixture
async def cloud(server: NatsServer) -> AsyncIterator[NatsCloud]:
    cloud = server.connect()
    yield cloud
    await cloud.aclose()


@pytest.fixture
async def deployed(cloud: NatsCloud, server: NatsServer) -> Deployment:
    return await deploy(cloud, server.address, "dep", max_receives=1)


def is_a_poll(sent: Sent) -> bool:
    return sent.subject.startswith("$JS.API.CONSUMER.MSG.NEXT.")


async def polls(proxy: NatsProxy, times: int) -> None:
    """Wait for so many."""
    await eventually(lambda: proxy.count(is_a_poll) >= times)


async def asked(cloud: NatsCloud) -> None:
    """Wait until somebody polls the deployed queue."""

    async def is_asked() -> bool:
        async with cloud.connection.using("look") as js:
            return bool((await js.consumer_info("dep-jobs", "dep")).num_waiting)

    await eventually(is_asked)


async def killed_and_started_again(server: NatsServer, cloud: NatsCloud) -> None:
    """Returns when the cloud has found it again."""
    server.kill()
    server.start()

    async def answers() -> bool:
        with suppress(Unavailable):
            async with cloud.connection.using("look") as js:
                return bool(await js.streams_info())
        return False

    await eventually(answers)


async def test_what_was_acknowledged_is_there_after_the_server_was_killed(
    server: NatsServer, cloud: NatsCloud, deployed: Deployment
) -> None:
    topic, queue = cloud.topic(deployed.job_topic), cloud.queue(deployed.queue_url)
    bucket = cloud.bucket(deployed.bucket)
    await topic.publish("kept", {"runtime": "dep"})
    await bucket.write("small", b"1", media_type="text/plain", create_only=True)
    await bucket.write("large", bytes(10**6), media_type="text/plain", create_only=True)
    (message,) = await received(queue)
    await killed_and_started_again(server, cloud)
    await queue.extend(message, LONG)
    with pytest.raises(ObjectExists):
        await bucket.write("small", b"2", media_type="text/plain", create_only=True)
    assert await bucket.read("large") == bytes(10**6)
    try:
        await queue.delete(message)
    except LeaseLost:  # the server was killed before it had written that it had delivered it
        (message,) = await received(queue)
        await queue.delete(message)
    await comes_to_hold(queue, 0)


async def test_a_delivered_message_is_delivered_again_after_the_server_was_killed(
    server: NatsServer, cloud: NatsCloud
) -> None:
    deployed = await deploy(cloud, server.address, "brief", visibility_timeout=2)
    queue = cloud.queue(deployed.queue_url)
    await queue.send("x", {})
    await received(queue, lease=2)
    await killed_and_started_again(server, cloud)
    (message,) = await received(queue)
    assert message.body == "x"


async def test_a_poll_ends_at_once_when_the_server_is_killed(
    server: NatsServer, cloud: NatsCloud, deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "_MISSED", LONG)  # a silent consumer is another matter
    queue = cloud.queue(deployed.queue_url)
    poll = asyncio.create_task(queue.receive(1, wait=LONG, visibility_timeout=LONG))
    await asked(cloud)
    server.kill()
    with pytest.raises(Unavailable, match="connection was lost"):
        async with asyncio.timeout(SOON):
            await poll
    with pytest.raises(Unavailable) as raised:
        await queue.policy()
    assert not isinstance(raised.value, Unanswered)


async def test_a_poll_ends_at_once_when_the_socket_breaks_under_what_is_still_to_be_sent(
    server: NatsServer, cloud: NatsCloud, deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the handler is closed")  # as uvloop says it

    monkeypatch.setattr(pulling, "_MISSED", LONG)
    queue = cloud.queue(deployed.queue_url)
    poll = asyncio.create_task(queue.receive(1, wait=LONG, visibility_timeout=LONG))
    await asked(cloud)
    monkeypatch.setattr(TcpTransport, "writelines", broken)
    sending = asyncio.create_task(queue.send("x", {}))
    await asyncio.sleep(0)
    server.kill()
    for task in (poll, sending):
        with pytest.raises(Unavailable, match="connection was lost"):
            async with asyncio.timeout(SOON):
                await task


async def test_a_watcher_misses_nothing_while_the_server_is_away(
    server: NatsServer, cloud: NatsCloud, deployed: Deployment
) -> None:
    watched = cloud.topic(deployed.notification_topic)
    other = server.connect()
    heard: list[str] = []

    async def listen(bodies: AsyncIterator[str]) -> None:
        async for body in bodies:
            heard.append(body)  # noqa: PERF401  they are looked at meanwhile

    async with watched.subscribe({"id": ["a.b"]}) as bodies:
        listening = asyncio.create_task(listen(bodies))
        await watched.publish("before", {"id": "a.b"})
        await eventually(lambda: heard == ["before"])
        await killed_and_started_again(server, other)
        await other.topic(deployed.notification_topic).publish("after", {"id": "a.b"})
        await eventually(lambda: heard == ["before", "after"])
        listening.cancel()
        await asyncio.wait({listening})
    await other.aclose()


async def test_a_watcher_outlives_many_short_outages_one_after_the_other(
    server: NatsServer, deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Together they are longer than it waits for the end of one."""
    monkeypatch.setattr(watching, "_OUTAGE", 1.5)
    monkeypatch.setattr(watching, "_PAUSE", 0.5)
    async with NatsProxy(server.port) as proxy:
        cloud = NatsCloud([proxy.address], {})
        topic = cloud.topic(deployed.notification_topic)
        async with topic.subscribe() as bodies:
            heard = asyncio.ensure_future(anext(bodies))
            for number in range(1, 6):
                await polls(proxy, number)
                proxy.cut()
            await polls(proxy, 6)
            await topic.publish("told", {"id": "a"})
            assert await heard == "told"
        await cloud.aclose()


async def test_a_server_that_does_not_answer_leaves_open_what_was_done(
    server: NatsServer, cloud: NatsCloud, deployed: Deployment
) -> None:
    topic = cloud.topic(deployed.job_topic)
    await topic.check()
    server.freeze()
    with pytest.raises(Unanswered):
        await topic.publish("x", {"runtime": "dep"})
    server.send_signal(signal.SIGCONT)
    (message,) = await received(cloud.queue(deployed.queue_url))
    assert message.body == "x"


async def test_a_late_answer_to_a_poll_given_up_leaves_the_connection_as_it_was(
    server: NatsServer, cloud: NatsCloud, deployed: Deployment
) -> None:
    queue = cloud.queue(deployed.queue_url)
    await queue.policy()
    poll = asyncio.create_task(queue.receive(1, wait=LONG, visibility_timeout=LONG))
    await asked(cloud)
    server.freeze()
    poll.cancel()
    await asyncio.wait({poll})
    server.send_signal(signal.SIGCONT)
    await queue.policy()


async def test_a_connection_of_which_nothing_is_read_any_more_is_lost_at_once(
    cloud: NatsCloud, deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def surprise(*_: object) -> None:
        raise ArithmeticError

    queue = cloud.queue(deployed.queue_url)
    await queue.policy()
    poll = asyncio.create_task(queue.receive(1, wait=LONG, visibility_timeout=LONG))
    await asked(cloud)
    monkeypatch.setattr(Client, "_process_pong", surprise)
    with pytest.raises(Unavailable, match="connection was lost"):
        async with cloud.connection.exchange("ping") as client:
            await client.flush()
    with pytest.raises(Unavailable, match="connection was lost"):
        await poll
    monkeypatch.undo()
    await queue.policy()


def test_what_uvloop_says_of_a_closed_socket_leaves_open_what_was_done() -> None:
    with pytest.raises(Unanswered, match="connection was lost"), translated("publish"):
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>")


def sockets() -> set[str]:
    """Those that this process has open."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of the folder
            found.add(str(descriptor.readlink()))
    return {name for name in found if name.startswith("socket:")}


async def test_a_connection_that_takes_no_more_is_given_up_before_the_rest_is_sent(
    server: NatsServer, cloud: NatsCloud, deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cloud.aclose()
    before, tasks = sockets(), asyncio.all_tasks()
    monkeypatch.setattr(connection, "_PING", 1)
    queue = cloud.queue(deployed.queue_url)
    await queue.policy()
    server.freeze()

    async def send() -> None:
        async with cloud.connection.using("publish", seconds=1) as js:
            await js.publish("dep-jobs.dep", bytes(900_000))

    sends = [asyncio.create_task(send()) for _ in range(20)]
    await asyncio.wait(sends)
    assert all(isinstance(send.exception(), Unavailable) for send in sends)

    async def a_new_one_is_tried() -> bool:
        with pytest.raises(Unavailable) as raised:
            await queue.policy()
        return "Could not reach NATS" in raised.value.message

    await eventually(a_new_one_is_tried)
    await cloud.aclose()
    await eventually(lambda: asyncio.all_tasks() <= tasks and sockets() <= before)


async def test_who_was_held_up_beyond_the_lease_cannot_extend_it(
    server: NatsServer, cloud: NatsCloud
) -> None:
    deployed = await deploy(cloud, server.address, "held-up", visibility_timeout=2)
    queue = cloud.queue(deployed.queue_url)
    await queue.send("x", {})
    (message,) = await received(queue, lease=2)
    server.freeze()
    extending = asyncio.create_task(queue.extend(message, LONG))
    await asyncio.sleep(2)  # the lease runs out
    server.send_signal(signal.SIGCONT)
    with pytest.raises(LeaseLost):
        await extending


async def test_a_poll_given_up_gives_back_what_was_on_its_way(
    server: NatsServer, cloud: NatsCloud, deployed: Deployment
) -> None:
    queue = cloud.queue((await deploy(cloud, server.address, "given")).queue_url)
    other = server.connect()
    await queue.policy()
    for number in range(20):
        poll = asyncio.create_task(queue.receive(1, wait=LONG, visibility_timeout=LONG))
        await other.queue(f"{server.address}/given-jobs/given").send(str(number), {})
        poll.cancel()
        await asyncio.wait({poll})
        if poll.cancelled():
            await received(queue, lease=LONG)
        await comes_to_hold(queue, 0, number + 1)
    await other.aclose()


async def test_a_dead_letter_that_was_moved_halfway_comes_once(
    server: NatsServer, cloud: NatsCloud, deployed: Deployment
) -> None:
    queue = cloud.queue(deployed.queue_url)
    await queue.send("x", {"runtime": "dep"})
    (message,) = await received(queue)
    await queue.extend(message, 0)
    async with cloud.connection.using("publish") as js:  # as one that was killed thereafter
        headers = {"runtime": "dep", "Nats-Msg-Id": message.id}
        await js.publish("dep-dead.dep", b"x", headers=headers)
    (message,) = await received(queue)
    await queue.bury(message)
    assert deployed.dead_letter_queue_url is not None
    dead = cloud.queue(deployed.dead_letter_queue_url)
    assert [(one.body, one.attributes) for one in await received(dead)] == [
        ("x", {"runtime": "dep"})
    ]
    await comes_to_hold(dead, 0, 1)
    await comes_to_hold(queue, 0)


async def test_a_dead_letter_that_cannot_be_moved_is_kept(
    server: NatsServer, cloud: NatsCloud, deployed: Deployment
) -> None:
    queue = cloud.queue(deployed.queue_url)
    await queue.send("x", {})
    (message,) = await received(queue)
    async with cloud.connection.using("remove") as js:
        await js.delete_stream("dep-dead")
    with pytest.raises(Unavailable):
        await queue.bury(message)
    for _ in range(TO_BE_ANSWERED):
        await queue.extend(message, 0)
        (message,) = await received(queue)
    await queue.extend(message, 0)
    assert list(await queue.receive(1, wait=1, visibility_timeout=LONG)) == []
    await comes_to_hold(queue, 0, 1)


async def test_names_with_dots_and_others_with_them_are_told_apart(
    server: NatsServer, cloud: NatsCloud, deployed: Deployment
) -> None:
    topic = cloud.topic(deployed.job_topic)
    queues = {
        name: f"{server.address}/dep-jobs/{name}" for name in (NAME, "sdxl-1", "große Bilder")
    }
    for url in queues.values():
        await making.make(cloud.connection, making.consumer(NatsAddress.parse(url)))
    assert await topic.routing("runtime") is not None
    for name, url in queues.items():
        await topic.publish(name, {"runtime": name})
        assert [message.body for message in await received(cloud.queue(url))] == [name]
    routing = await topic.routing("runtime")
    assert routing is not None
    assert routing.values == {*queues, "dep"}


async def test_what_is_not_there_is_said_with_what_to_do(
    server: NatsServer, cloud: NatsCloud
) -> None:
    queue = cloud.queue(f"{server.address}/none/none")
    bucket = cloud.bucket(f"{server.address}/none")
    for call in (
        cloud.topic(f"{server.address}/none").publish("x", {}),
        cloud.topic(f"{server.address}/none").check(),
        queue.policy(),
        queue.receive(1, wait=0, visibility_timeout=30),
        queue.send("x", {}),
        bucket.read("a"),
        bucket.write("a", b"", media_type="text/plain"),
        bucket.write("a", bytes(10**6), media_type="text/plain"),
        bucket.exists("a"),
        bucket.keys(""),
    ):
        with pytest.raises(Unavailable) as raised:
            await call
        assert raised.value.type == "cloud_not_found"
        assert "queue-agent setup" in raised.value.remedy


async def test_a_consumer_that_is_removed_ends_the_poll_with_the_reason(
    cloud: NatsCloud, deployed: Deployment
) -> None:
    queue = cloud.queue(deployed.queue_url)
    await queue.policy()
    poll = asyncio.create_task(queue.receive(1, wait=LONG, visibility_timeout=LONG))
    await asked(cloud)
    async with cloud.connection.using("remove") as js:
        await js.delete_consumer("dep-jobs", "dep")
    with pytest.raises(Unavailable, match=r"(?i)consumer deleted"):
        async with asyncio.timeout(SOON):
            await poll


async def parts_stored(cloud: NatsCloud) -> int:
    """How many messages the object store of the deployed bucket has."""
    async with cloud.connection.using("look") as js:
        return (await js.stream_info("OBJ_dep-results")).state.messages


async def test_an_upload_that_was_beaten_leaves_nothing(
    cloud: NatsCloud, deployed: Deployment
) -> None:
    bucket = cloud.bucket(deployed.bucket)
    outcomes = await asyncio.gather(
        *(
            bucket.write("a", bytes(10**6), media_type="text/plain", create_only=True)
            for _ in range(5)
        ),
        return_exceptions=True,
    )
    assert outcomes.count(None) == 1
    async with cloud.connection.using("look") as js:
        info = await js.stream_info("OBJ_dep-results", subjects_filter=">")
    assert len(info.state.subjects or {}) == 2, "the chunks and the description of one"
    await bucket.write("a", b"small", media_type="text/plain")
    assert await parts_stored(cloud) == 0


@dataclass
class CutShort(Fault):
    """Cancels the writes as soon as a part of one was sent."""

    writes: Sequence[asyncio.Task[None]] = ()

    async def strike(self, exchange: Exchange) -> None:
        await exchange.relay()
        for write in self.writes:
            write.cancel()


async def test_uploads_cut_short_leave_nothing(server: NatsServer, deployed: Deployment) -> None:
    """The parts on their way when writes are cancelled come after all that was acknowledged."""
    cutting = CutShort()

    def is_the_twentieth(sent: Sent) -> bool:
        return sent.subject.startswith("$O.") and next(parts) == 20

    async with NatsProxy(server.port) as proxy:
        cloud = NatsCloud([proxy.address], {})
        bucket = cloud.bucket(deployed.bucket)
        for _ in range(3):
            parts = itertools.count(1)
            with proxy.fault(cutting, is_the_twentieth, times=1):
                cutting.writes = [
                    asyncio.create_task(bucket.write(key, bytes(2**21), media_type="text/plain"))
                    for key in "abcdefgh"
                ]
                outcomes = await asyncio.gather(*cutting.writes, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}
            assert await parts_stored(cloud) == 0
        await cloud.aclose()


async def test_objects_and_entries_can_be_read_with_the_tools_of_nats(
    cloud: NatsCloud, deployed: Deployment
) -> None:
    bucket = cloud.bucket(deployed.bucket)
    await bucket.write("output/j/j-1.out", b'{"a": 1}', media_type="application/json")
    await bucket.write("output/j/j-1-1.png", bytes(10**6), media_type="image/png")
    async with cloud.connection.using("read") as js:
        entries = await js.key_value("dep-results")
        assert (await entries.get("output.j.j-1=2Eout")).value == b'{"a": 1}'
        where = json.loads((await entries.get("output.j.j-1-1=2Epng")).value or b"")
        objects = await js.object_store("dep-results")
        assert (await objects.get(where["object"])).data == bytes(10**6)


async def test_who_may_not_do_something_is_told(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats", configuration=USERS) as server:
        everything = NatsCloud([server.address], {"NATS_USER": "all", "NATS_PASSWORD": "secret"})
        deployed = await deploy(everything, server.address, "dep")
        reader = NatsCloud([server.address], {"NATS_USER": "reader", "NATS_PASSWORD": "secret"})
        await reader.topic(deployed.job_topic).check()
        await reader.queue(deployed.queue_url).policy()
        with pytest.raises(Unavailable, match=r"dep-jobs\.dep") as raised:
            await reader.topic(deployed.job_topic).publish("x", {"runtime": "dep"})
        assert raised.value.type == "cloud_unauthorized"
        wrong = NatsCloud([server.address], {"NATS_USER": "all", "NATS_PASSWORD": "guessed"})
        with pytest.raises(Unavailable) as raised:
            await wrong.topic(deployed.job_topic).check()
        assert raised.value.type == "cloud_unauthenticated"
        assert "guessed" not in raised.value.message
        for one in (everything, reader, wrong):
            await one.aclose()


async def test_an_agent_needs_no_more_than_the_documented_rights(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats", configuration=USERS) as server:
        everything = NatsCloud([server.address], {"NATS_USER": "all", "NATS_PASSWORD": "secret"})
        deployed = await deploy(everything, server.address, "dep", max_receives=2)
        agent = NatsCloud([server.address], {"NATS_USER": "agent", "NATS_PASSWORD": "secret"})
        queue, bucket = agent.queue(deployed.queue_url), agent.bucket(deployed.bucket)
        await everything.queue(deployed.queue_url).send("x", {})
        (message,) = await received(queue, lease=LONG)
        await queue.extend(message, LONG)
        await queue.extend(message, 0)
        (message,) = await received(queue)
        await queue.bury(message)
        await comes_to_hold(everything.queue(deployed.dead_letter_queue_url or ""), 1)
        for size in (1, 10**6):
            await bucket.write("a", bytes(size), media_type="text/plain")
            assert len(await bucket.read("a")) == size
        assert [found.key for found in await bucket.listing("")] == ["a"]
        await bucket.delete("a")
        async with agent.topic(deployed.notification_topic).subscribe() as bodies:
            await agent.topic(deployed.notification_topic).publish("told", {"id": "a"})
            assert await anext(bodies) == "told"
        await agent.aclose()
        await everything.aclose()


async def test_tls_is_spoken_where_it_is_asked_for_and_else_nothing(tmp_path: Path) -> None:
    _, pem = certified("localhost", tmp_path)
    secured = f'tls {{ cert_file: "{pem}", key_file: "{pem}" }}'
    with NatsServer(tmp_path / "secured", configuration=secured) as server:
        address = f"tls://localhost:{server.port}"
        cloud = NatsCloud([address], {"NATS_CA": str(pem)})
        await deploy(cloud, address, "dep")
        await cloud.topic(f"{address}/dep-jobs").check()
        strangers = NatsCloud([address], {})
        with pytest.raises(Unavailable, match=r"(?i)certificate"):
            await strangers.topic(f"{address}/dep-jobs").check()
        await cloud.aclose()
        await strangers.aclose()
    with NatsServer(tmp_path / "plain") as server:
        cloud = NatsCloud([f"tls://127.0.0.1:{server.port}"], {})
        with pytest.raises(Unavailable, match="secure connection"):
            await cloud.topic(f"{server.address}/dep-jobs").check()
        await cloud.aclose()


async def test_of_several_servers_one_that_answers_is_enough(
    server: NatsServer, deployed: Deployment
) -> None:
    for _ in range(5):
        cloud = NatsCloud(["nats://127.0.0.1:1", server.address], {})
        await cloud.topic(deployed.job_topic).check()
        await cloud.aclose()


async def test_a_message_larger_than_the_server_takes_ends_no_connection(
    cloud: NatsCloud, deployed: Deployment
) -> None:
    queue = cloud.queue(deployed.queue_url)
    await queue.policy()
    poll = asyncio.create_task(queue.receive(1, wait=LONG, visibility_timeout=LONG))
    for size in (2**20, 2**20 - 10, 2**22):
        with pytest.raises(Unavailable, match="maximum payload"):
            await queue.send("x" * size, {})
    await queue.send("x", {})
    assert [message.body for message in await poll] == ["x"]


async def test_a_cancellation_that_meets_an_answer_is_not_lost(
    cloud: NatsCloud, deployed: Deployment
) -> None:
    """As of an agent that ends to tell of a job's progress: it would wait for itself."""
    answered = asyncio.Event()

    async def tell() -> None:
        async with cloud.connection.exchange("publish") as client:
            request = client.request("$JS.API.INFO", timeout=SOON)
            with suppress(asyncio.CancelledError):  # as Python 3.11's `wait_for` has it
                await request
                answered.set()
                await asyncio.Event().wait()

    task = asyncio.create_task(tell())
    await answered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_full_store_is_said_in_words_loses_nothing_and_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    with NatsServer(tmp_path / "nats", room=ROOM) as server:
        cloud = server.connect()
        deployed = await deploy(cloud, server.address, "dep")
        topic, queue = cloud.topic(deployed.job_topic), cloud.queue(deployed.queue_url)
        bucket = cloud.bucket(deployed.bucket)
        await topic.publish("kept", {"runtime": "dep"})
        await bucket.write("kept", b"1", media_type="text/plain")
        async with filled(cloud) as said:
            assert "room" in said.remedy
            for size in (10**3, 10**6):
                with pytest.raises(Unavailable) as raised:
                    await bucket.write("new", bytes(size), media_type="text/plain")
                assert "room" in raised.value.remedy
            with pytest.raises(Unavailable, match="insufficient"):
                await topic.publish("refused", {"runtime": "dep"})
            (message,) = await received(queue, lease=LONG)
            assert (message.body, await bucket.read("kept")) == ("kept", b"1")
            assert not await bucket.exists("new")
            await queue.delete(message)
        await topic.publish("after", {"runtime": "dep"})
        await bucket.write("new", bytes(10**6), media_type="text/plain")
        (message,) = await received(queue, lease=LONG)
        assert (message.body, await bucket.read("new")) == ("after", bytes(10**6))
        await cloud.aclose()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mounting, check=False).returncode:
        pytest.skip("only root can mount one")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def test_what_was_acknowledged_is_there_after_the_disk_was_full(disk: Path) -> None:
    """The server answers to no write then, and not before it was restarted."""
    with NatsServer(disk / "nats") as server:
        cloud = server.connect()
        deployed = await deploy(cloud, server.address, "dep")
        topic = cloud.topic(deployed.job_topic)
        await topic.publish("kept", {"runtime": "dep"})
        with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        with pytest.raises(Unanswered):
            await topic.publish("x" * 100_000, {"runtime": "dep"})
        (disk / "filler").unlink()
        await killed_and_started_again(server, cloud)
        await topic.publish("after", {"runtime": "dep"})
        queue = cloud.queue(deployed.queue_url)
        bodies = [message.body for message in await received(queue, count=2, lease=LONG)]
        assert bodies == ["kept", "after"]
        await cloud.aclose()


async def test_a_slow_server_does_all_the_same(server: NatsServer) -> None:
    async with NatsProxy(server.port) as proxy:
        proxy.latency = 0.1
        cloud = NatsCloud([proxy.address], {})
        deployed = await deploy(cloud, proxy.address, "dep")
        await cloud.topic(deployed.job_topic).publish("slow", {"runtime": "dep"})
        queue, bucket = cloud.queue(deployed.queue_url), cloud.bucket(deployed.bucket)
        (message,) = await received(queue, lease=LONG)
        await bucket.write("large", bytes(10**6), media_type="text/plain", create_only=True)
        assert await bucket.read("large") == bytes(10**6)
        await queue.extend(message, LONG)
        await queue.delete(message)
        await comes_to_hold(queue, 0)
        await cloud.aclose()


async def test_what_a_stalled_connection_held_back_arrives_and_was_left_open(
    server: NatsServer, deployed: Deployment
) -> None:
    async with NatsProxy(server.port) as proxy:
        cloud = NatsCloud([proxy.address], {})
        topic = cloud.topic(deployed.job_topic)
        await topic.check()
        with proxy.stalling(), pytest.raises(Unanswered):
            await topic.publish("late", {"runtime": "dep"})
        (message,) = await received(cloud.queue(deployed.queue_url), lease=LONG)
        assert message.body == "late"
        await cloud.aclose()


async def test_a_connection_that_is_cut_is_made_anew_by_what_is_asked_next(
    server: NatsServer, deployed: Deployment
) -> None:
    async with NatsProxy(server.port) as proxy:
        cloud = NatsCloud([proxy.address], {})
        queue = cloud.queue(deployed.queue_url)
        await queue.send("kept", {})
        (message,) = await received(queue, lease=LONG)
        poll = asyncio.create_task(queue.receive(1, wait=LONG, visibility_timeout=LONG))
        asked = proxy.count(is_a_poll)
        await eventually(lambda: proxy.count(is_a_poll) > asked)
        proxy.cut()
        with pytest.raises(Unavailable, match="connection was lost"):
            await poll
        await queue.extend(message, LONG)
        await queue.delete(message)
        await comes_to_hold(queue, 0)
        await cloud.aclose()
