"""`queue-agent setup` on a real server: what is missing is made, what differs is shown."""

import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from queue_agent.cloud.nats import NatsCloud, making
from queue_agent.cloud.resources import Resources, SetupStep
from queue_agent.cloud.setting_up import dead_letters_of, set_up
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.cloud_contract.hooks import received
from queue_agent.testing.nats import NatsServer, deploy
from queue_agent.testing.waiting import comes_to_hold
from queue_agent.wire.errors import SettingsError, Unavailable

LEASE = 60_000_000_000


@dataclass
class Place:
    """The names of one test on the server."""

    cloud: NatsCloud
    name: str
    wanted: Resources

    async def setup(self, *, change: bool = False, dry: bool = False, **wanted: Any) -> list[str]:
        """What was done, in words without the test's name."""
        steps: list[SetupStep] = []
        await set_up(replace(self.wanted, **wanted), steps.append, dry=dry, change=change)
        return [str(step).replace(self.name, "NAME") for step in steps]

    async def ask(self, what: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        payload = json.dumps(body).encode() if body else b""
        subject = f"$JS.API.{what}.{self.name}{path}"
        answer = json.loads((await self.cloud.connection.request(what, subject, payload)).data)
        assert "error" not in answer, answer
        return answer

    async def stream(self, path: str = "") -> dict[str, Any]:
        found: dict[str, Any] = (await self.ask("STREAM.INFO", path))["config"]
        return found

    async def consumer(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.ask("CONSUMER.INFO", ".sdruntime"))["config"]
        return found

    async def put(self, path: str = "", **values: Any) -> None:
        """Have a stream with these values, made or changed."""
        there = await self.setup(dry=True, change=True)
        if f"stream NAME{path}" in there:
            body = {"name": self.name + path, "subjects": [f"{self.name}{path}.*"], **values}
            await self.ask("STREAM.CREATE", path, body)
        else:
            await self.ask("STREAM.UPDATE", path, {**await self.stream(path), **values})

    async def put_consumer(self, **values: Any) -> None:
        config = {**await self.consumer(), **values}
        body = {"stream_name": self.name, "config": config, "action": "update"}
        await self.ask("CONSUMER.CREATE", ".sdruntime", body)


@pytest.fixture
async def place(nats_server: NatsServer) -> AsyncIterator[Place]:
    name = f"jobs{secrets.token_hex(4)}"
    cloud = NatsCloud([nats_server.address])
    wanted = Resources(
        queue_url=f"{nats_server.address}/{name}/sdruntime",
        notification_topic=f"{nats_server.address}/{name}-told",
        bucket=f"{nats_server.address}/{name}-results",
    )
    yield Place(cloud, name, wanted)
    await cloud.aclose()


async def test_what_is_as_it_is_wanted_is_left_alone(place: Place) -> None:
    assert len(await place.setup()) == 8
    before = await place.stream(), await place.consumer()
    assert await place.setup() == []
    assert await place.setup(change=True) == []
    assert (await place.stream(), await place.consumer()) == before


async def test_another_lease_is_shown_and_changed_only_when_told(place: Place) -> None:
    await place.setup(lease=45.0)
    line = "consumer sdruntime{} of stream NAME {}: ack_wait is 45 s, wanted are 60 s"

    def lines(outcome: str) -> list[str]:
        return [line.format(name, outcome) for name in ("", "~turns")]

    assert await place.setup() == lines("differs")
    assert await place.setup(dry=True, change=True) == lines("changed")
    assert (await place.consumer())["ack_wait"] == LEASE * 3 // 4
    assert await place.setup(change=True) == lines("changed")
    assert (await place.consumer())["ack_wait"] == LEASE
    assert await place.setup() == []


async def test_jobs_that_wait_outlive_a_change(place: Place) -> None:
    await place.setup(lease=45.0, max_receives=9)
    queue = place.cloud.queue(place.wanted.queue_url)
    await queue.send("waits", {})
    await place.setup(change=True)
    (message,) = await queue.receive(1, wait=30, visibility_timeout=60)
    assert message.body == "waits"
    assert await queue.policy() == await place.cloud.queue(place.wanted.queue_url).policy()
    await queue.delete(message)


async def test_dead_letters_are_those_that_are_wanted(place: Place) -> None:
    await place.setup(max_receives=5)
    await place.put_consumer(metadata={**(await place.consumer())["metadata"], "owner": "us"})
    (step,) = await place.setup(change=True)
    assert "dead letters after 5, in NAME-dead, wanted are dead letters after 3" in step
    assert (await place.consumer())["metadata"]["owner"] == "us"
    await place.put_consumer(metadata={})
    (step,) = await place.setup()
    assert "there are no dead letters, wanted are dead letters after 3, in NAME-dead" in step


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"max_deliver": 4}, "max_deliver is 4, wanted is no limit"),
        ({"max_ack_pending": 10}, "max_ack_pending is 10, wanted is no limit"),
    ],
)
async def test_a_consumer_that_would_lose_or_hold_jobs_is_mended(
    place: Place, values: dict[str, Any], told: str
) -> None:
    await place.setup()
    await place.put_consumer(**values)
    assert await place.setup(change=True) == [f"consumer sdruntime of stream NAME changed: {told}"]
    assert await place.setup() == []


async def test_a_consumer_of_other_jobs_gets_its_own(place: Place) -> None:
    await place.setup()
    await place.put_consumer(filter_subjects=[f"{place.name}.another"])
    told = "it gets NAME.another, wanted are NAME.sdruntime, NAME.sdruntime.tenants.*"
    assert await place.setup() == [f"consumer sdruntime of stream NAME differs: {told}"]
    assert len(await place.setup(change=True)) == 1
    assert await place.setup() == []


async def test_a_stream_gets_what_it_lacks_and_keeps_what_is_its_own(place: Place) -> None:
    await place.setup()
    await place.put(
        subjects=["own.>"], duplicate_window=2_000_000_000, max_age=86_400_000_000_000,
        discard="old", description="ours",
    )  # fmt: skip
    steps = await place.setup()
    assert [step.partition("differs: ")[2] for step in steps] == [
        "its subjects lack NAME.*, NAME.sdruntime.tenants.*, NAME.sdruntime.turns.*",
        "discard is old, wanted is new",
        "max_age is 86400 s, wanted are 1209600 s",
        "duplicate_window is 2 s, wanted are 300 s",
    ]
    assert len(await place.setup(change=True)) == 4
    assert await place.setup() == []
    stream = await place.stream()
    assert stream["subjects"][:2] == ["own.>", f"{place.name}.*"]
    assert stream["description"] == "ours"


async def test_what_keeps_more_than_is_wanted_does_not_differ(place: Place) -> None:
    await place.setup()
    await place.put(max_age=0, duplicate_window=600_000_000_000)
    assert await place.setup() == []


async def test_what_cannot_be_changed_is_said_to_stay(place: Place) -> None:
    await place.put(retention="limits", discard="new", max_age=0, duplicate_window=LEASE * 5)
    steps = await place.setup(change=True)
    told = "retention is limits, wanted is workqueue; it cannot be changed"
    assert f"stream NAME differs: {told}" in steps
    assert (await place.stream())["retention"] == "limits"


async def test_more_servers_than_there_are_are_refused_in_words(place: Place) -> None:
    await place.setup()
    line = "stream NAME differs: num_replicas is 1, wanted are 3"
    assert line in await place.setup(replicas=3)
    with pytest.raises(Unavailable, match=r"change stream jobs\w+: .*replicas"):
        await place.setup(replicas=3, change=True)


async def test_limits_in_bytes_are_set_and_changed_only_when_told(place: Place) -> None:
    await place.setup(stream_bytes=2**22)
    assert (await place.stream())["max_bytes"] == 2**22
    assert (await place.stream("-told"))["max_bytes"] == 2**22
    assert await place.setup() == [], "a limit that is not asked for is its owner's"
    steps = await place.setup(stream_bytes=2**22, bucket_bytes=2**30)
    assert steps == [
        f"stream {kind}_NAME-results differs: it has no max_bytes, wanted are {2**30}"
        for kind in ("KV", "OBJ")
    ]
    steps = await place.setup(stream_bytes=2**23, bucket_bytes=2**30, change=True)
    told = f"max_bytes is {2**22}, wanted are {2**23}"
    assert f"stream NAME changed: {told}" in steps
    assert len(steps) == 5
    assert await place.setup(stream_bytes=2**23, bucket_bytes=2**30) == []


ONLY_SETUP = [
    "$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.UPDATE.>", "$JS.API.STREAM.DELETE.>",
    "$JS.API.STREAM.PURGE.jobs", "$JS.API.CONSUMER.CREATE.jobs.>", "$JS.API.CONSUMER.DELETE.jobs.>",
]  # fmt: skip
"""What `docs/nats.md` says that agents can be denied."""


async def test_agents_work_without_the_rights_of_setup(tmp_path: Path) -> None:
    denied = [subject.replace("jobs", "dep-jobs") for subject in ONLY_SETUP]
    users = f"""
    authorization: {{users: [
      {{user: operator, password: secret}},
      {{user: agent, password: secret, permissions: {{publish: {{deny: {json.dumps(denied)}}}}}}}
    ]}}
    """
    with NatsServer(tmp_path, log=tmp_path / "server.log", configuration=users) as server:
        operator, agent = (
            NatsCloud([server.address], {"NATS_USER": user, "NATS_PASSWORD": "secret"})
            for user in ("operator", "agent")
        )
        try:
            made = await deploy(operator, server.address, "dep", max_receives=1)
            queue, bucket = agent.queue(made.queue_url), agent.bucket(made.bucket)
            topic = agent.topic(made.notification_topic)
            async with topic.subscribe() as heard:
                await topic.publish("told", {"runtime": "r", "status": "completed", "id": "a"})
                assert await anext(heard) == "told"
            await queue.send("a job", {})
            (message,) = await queue.receive(1, wait=30, visibility_timeout=30)
            await bucket.write("large", bytes(200_000), media_type="image/png")
            await bucket.write("large", bytes(300_000), media_type="image/png")
            assert len(await bucket.read("large")) == 300_000
            await queue.delete(message)
            with pytest.raises(Unavailable) as refused:
                await making.make(agent.connection, making.job_stream("more"))
            assert refused.value.type == "cloud_unauthorized"
        finally:
            await operator.aclose()
            await agent.aclose()


async def test_equal_messages_are_two_dead_letters(place: Place) -> None:
    """As jobs that were published twice, by an id that was used again."""
    await place.setup(max_receives=1)
    queue = place.cloud.queue(place.wanted.queue_url)
    for _ in range(2):
        await queue.send('{"metadata": {"id": "again"}}', {})
    for message in await received(queue, 2):
        await queue.bury(message)
    await comes_to_hold(place.cloud.queue(dead_letters_of(place.wanted.queue_url)), 2)


async def test_the_bucket_may_lie_in_s3(
    place: Place, embedded_cloud: EmbeddedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = f"{place.name}-results"
    with pytest.raises(SettingsError, match="QUEUE_AGENT_REGION"):
        await place.setup(bucket=bucket)
    for name, value in embedded_cloud.environment().items():
        monkeypatch.setenv(name, value)
    assert await place.setup(bucket=bucket, region="us-east-1") == ["bucket NAME-results"]
    assert await place.setup(bucket=bucket, region="us-east-1") == []
    cloud = embedded_cloud.connect()
    try:
        await cloud.bucket(bucket).write("a", b"b", media_type="text/plain")
    finally:
        await cloud.aclose()


async def test_without_a_bucket_none_is_made(place: Place) -> None:
    steps = await place.setup(bucket=None)
    assert len(steps) == 6
    assert not any("results" in step for step in steps)
