"""What listeners that were killed left behind is removed; what others listen by is not."""

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from queue_agent.client import Client
from queue_agent.cloud import Deployment
from queue_agent.cloud.aws import AwsCloud
from queue_agent.testing.aws import EmbeddedCloud, deploy
from queue_agent.wire.notification import Notification

ANY_AGE = -5.0
"""The cloud's clock is known to a second or two."""


@pytest.fixture(scope="module")
def embedded_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCloud]:
    """One of this module's own, since all subscriptions of an account are looked through."""
    with EmbeddedCloud(log=tmp_path_factory.mktemp("cloud") / "cloud.log") as cloud:
        yield cloud


@pytest_asyncio.fixture
async def cloud(embedded_cloud: EmbeddedCloud) -> AsyncIterator[AwsCloud]:
    cloud = embedded_cloud.connect()
    yield cloud
    await cloud.aclose()


@pytest_asyncio.fixture(params=[False, True], ids=["standard", "fifo"])
async def place(cloud: AwsCloud, request: pytest.FixtureRequest) -> Deployment:
    return await deploy(cloud, f"left-{secrets.token_hex(4)}", fifo=request.param)


async def make(cloud: AwsCloud, place: Deployment, name: str) -> str:
    """A queue by this name, subscribed to the notifications; its address."""
    sqs, sns = await cloud.client("sqs"), await cloud.client("sns")
    fifo = place.notification_topic.endswith(".fifo")
    made = await sqs.create_queue(
        QueueName=f"{name}{'.fifo' if fifo else ''}",
        Attributes={"FifoQueue": "true"} if fifo else {},
    )
    url = str(made["QueueUrl"])
    answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    await sns.subscribe(
        TopicArn=place.notification_topic, Protocol="sqs", Endpoint=answer["Attributes"]["QueueArn"]
    )
    return url


async def subscribed(cloud: AwsCloud, place: Deployment) -> set[str]:
    """The names of the queues subscribed to the notifications."""
    sns = await cloud.client("sns")
    answer = await sns.list_subscriptions_by_topic(TopicArn=place.notification_topic)
    return {each["Endpoint"].rpartition(":")[2] for each in answer["Subscriptions"]}


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


async def test_what_nobody_listens_by_goes_with_its_subscription_and_all_else_stays(
    cloud: AwsCloud, place: Deployment
) -> None:
    client = Client(cloud, notification_topic=place.notification_topic)
    left = await make(cloud, place, f"queue-agent-watch-{uuid.uuid4().hex}")
    others = [
        await make(cloud, place, name)
        for name in (f"queue-agent-watch-mine-{uuid.uuid4().hex}", f"orders-{uuid.uuid4().hex}")
    ]
    async with client.notifications() as notifications:
        (live,) = await subscribed(cloud, place) - {name_of(url) for url in (left, *others)}
        heard = asyncio.ensure_future(anext(notifications))
        shown = {name_of(url) async for url in client.clean(age=ANY_AGE, dry=True)}
        assert name_of(left) in shown
        assert name_of(left) in await subscribed(cloud, place)
        removed = {name_of(url) async for url in client.clean(age=ANY_AGE)}
        assert name_of(left) in removed
        assert not removed & {live, *map(name_of, others)}
        assert await subscribed(cloud, place) == {live, *map(name_of, others)}
        news = Notification(runtime="sd", id="order-1", status="completed", result=True)
        await cloud.topic(place.notification_topic).publish(news.to_json(), news.attributes())
        assert (await heard).id == "order-1"
    await cloud.remove_listener(left)  # gone already
    sqs = await cloud.client("sqs")
    assert "QueueUrls" not in await sqs.list_queues(QueueNamePrefix=name_of(left))


async def test_what_is_young_is_left_and_not_even_asked(cloud: AwsCloud, place: Deployment) -> None:
    url = await make(cloud, place, f"queue-agent-watch-{uuid.uuid4().hex}")
    assert url not in [name async for name in Client(cloud).clean(age=600)]
    assert (await cloud.queue(url).backlog()).waiting == 0


async def test_subscriptions_whose_queue_is_gone_are_removed_and_only_those(
    cloud: AwsCloud, place: Deployment
) -> None:
    sqs = await cloud.client("sqs")
    names = [f"queue-agent-watch-{uuid.uuid4().hex}", f"orders-{uuid.uuid4().hex}"]
    ours, others = [await make(cloud, place, name) for name in names]
    for url in (ours, others):
        await sqs.delete_queue(QueueUrl=url)
    client = Client(cloud, notification_topic=place.notification_topic)
    async with client.notifications():
        (live,) = await subscribed(cloud, place) - {name_of(ours), name_of(others)}
        shown = [name async for name in client.clean(age=600, dry=True)]
        assert any(name.startswith("arn:") for name in shown)
        assert name_of(ours) in await subscribed(cloud, place)
        removed = [name async for name in client.clean(age=600)]
        assert removed
        assert await subscribed(cloud, place) == {live, name_of(others)}
    await cloud.remove_listener(removed[0])  # gone already
