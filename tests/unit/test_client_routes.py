"""Jobs for runtimes that nobody serves are refused or warned of where they are published."""

import logging

import pytest

from queue_agent.client import Client, Rejected, SyncClient, Unavailable, make_job
from queue_agent.cloud.memory import FilterPolicy, MemoryCloud
from queue_agent.wire.layout import offer_key


def deployed(*policies: FilterPolicy | None) -> MemoryCloud:
    """A job topic with a queue for each filter policy."""
    cloud = MemoryCloud()
    for number, policy in enumerate(policies):
        cloud.topic("jobs").subscribe_queue(cloud.queue(f"queue-{number}"), policy)
    return cloud


def told(cloud: MemoryCloud, *runtimes: str) -> MemoryCloud:
    for runtime in runtimes:
        cloud.bucket("images").put(offer_key(runtime), b"{}")
    return cloud


def client_of(cloud: MemoryCloud) -> Client:
    return Client(cloud, job_topic="jobs", bucket="images")


def published(cloud: MemoryCloud) -> int:
    return len(cloud.topic("jobs").published)


async def test_a_runtime_that_no_filter_names_is_refused_with_those_that_are() -> None:
    cloud = deployed({"runtime": ["webui"]}, {"runtime": ["comfy", "flux"], "priority": ["high"]})
    with pytest.raises(Rejected, match="'wbui', but for: comfy, flux, webui") as error:
        await client_of(cloud).submit("a cat", runtime="wbui")
    assert error.value.type == "unknown_runtime"
    assert published(cloud) == 0


async def test_a_job_that_names_no_runtime_is_refused_where_filters_want_one() -> None:
    cloud = deployed({"runtime": ["webui"]})
    with pytest.raises(Rejected, match="is needed; the topic has queues for: webui"):
        await client_of(cloud).submit("a cat")
    assert published(cloud) == 0


async def test_one_unknown_runtime_among_many_jobs_keeps_all_from_being_published() -> None:
    cloud = deployed({"runtime": ["webui"]})
    jobs = [make_job({"prompt": "a cat"}, runtime=runtime) for runtime in ("webui", "wbui")]
    with pytest.raises(Rejected, match="wbui"):
        await client_of(cloud).submit_many(jobs)
    assert published(cloud) == 0


def test_a_program_that_is_not_asynchronous_is_told_as_well() -> None:
    cloud = deployed({"runtime": ["webui"]})
    with SyncClient(lambda: client_of(cloud)) as client, pytest.raises(Rejected, match="wbui"):
        client.submit("a cat", runtime="wbui")


@pytest.mark.parametrize(
    ("policy", "runtime"),
    [
        ({"runtime": ["webui"]}, "webui"),
        ({"runtime": [{"prefix": "web"}]}, "webui"),
        ({"runtime": [{"anything-but": ["comfy"]}]}, "webui"),
        ({"priority": ["high"]}, "webui"),
        (None, "webui"),
        (None, None),
        ({"runtime": ["webui", {"exists": False}]}, None),
    ],
)
async def test_what_a_queue_may_take_is_published_without_a_word(
    policy: FilterPolicy | None, runtime: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    cloud = deployed(policy)
    await client_of(cloud).submit("a cat", runtime=runtime)
    assert published(cloud) == 1
    assert caplog.messages == []


async def test_a_topic_without_a_subscription_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cloud = deployed()
    await client_of(cloud).submit("a cat", runtime="webui")
    assert caplog.messages == ["No queue is subscribed to the job topic: nobody gets the job."]
    assert published(cloud) == 1


@pytest.mark.parametrize("policy", [None, {"runtime": [{"anything-but": ["comfy"]}]}])
async def test_where_filters_do_not_tell_a_runtime_of_no_agent_is_warned_of_once(
    policy: FilterPolicy | None, caplog: pytest.LogCaptureFixture
) -> None:
    cloud = told(deployed(policy), "webui", "a b")
    client = client_of(cloud)
    for _ in range(2):
        await client.submit("a cat", runtime="wbui")
    (message,) = caplog.messages
    assert "'wbui' yet, but of: a b, webui" in message
    assert published(cloud) == 2


async def test_a_runtime_of_which_an_agent_told_is_not_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cloud = told(deployed(None), "webui", "comfy")
    await client_of(cloud).submit("a cat", runtime="webui")
    assert caplog.messages == []


async def test_without_the_right_to_see_subscriptions_the_bucket_tells(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cloud = told(deployed({"runtime": ["webui"]}), "webui")
    cloud.faults.fail("topic.routing", Unavailable("no", type="cloud_unauthorized"))
    await client_of(cloud).submit("a cat", runtime="wbui")
    assert "but of: webui" in caplog.messages[0]
    assert published(cloud) == 1


async def test_without_any_right_to_look_jobs_are_published_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    cloud = told(deployed({"runtime": ["webui"]}), "webui")
    for operation in ("topic.routing", "bucket.exists"):
        cloud.faults.fail(operation, Unavailable("no", type="cloud_unauthorized"))
    await client_of(cloud).submit("a cat", runtime="wbui")
    assert published(cloud) == 1
    assert caplog.messages == []


@pytest.mark.looptime
async def test_looking_holds_up_a_publication_for_some_seconds_at_most() -> None:
    cloud = deployed({"runtime": ["webui"]})
    cloud.faults.hold("topic.routing")
    await client_of(cloud).submit("a cat", runtime="webui")
    assert published(cloud) == 1


async def test_subscriptions_are_looked_at_once_for_many_jobs_of_a_runtime() -> None:
    cloud = deployed({"runtime": ["webui"]})
    client = client_of(cloud)
    for _ in range(3):
        await client.submit("a cat", runtime="webui")
    assert [call.operation for call in cloud.calls].count("topic.routing") == 1


async def test_a_queue_made_after_a_refusal_is_seen() -> None:
    cloud = deployed({"runtime": ["webui"]})
    client = client_of(cloud)
    with pytest.raises(Rejected):
        await client.submit("a cat", runtime="comfy")
    cloud.topic("jobs").subscribe_queue(cloud.queue("comfy"), {"runtime": ["comfy"]})
    await client.submit("a cat", runtime="comfy")
    assert published(cloud) == 1
