"""The AWS ports keep the promises of a cloud, against the emulator."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from typing import ClassVar

import pytest
import pytest_asyncio

from queue_agent.cloud import Bucket, Cloud, Deployment, Queue
from queue_agent.cloud.aws import AwsCloud
from queue_agent.testing import CloudContract
from queue_agent.testing.aws import REGION, EmbeddedCloud, deploy
from queue_agent.testing.cloud_contract import (
    CloudHooks,
    FifoPromises,
    QueuePromises,
    TenantPromises,
    TopicPromises,
)
from queue_agent.testing.cloud_contract.hooks import LONG, received
from queue_agent.testing.fault_proxy import Fault, FaultProxy, LoseAnswer, Reset, Status
from queue_agent.wire.errors import Unanswered, Unavailable


class OnAws(CloudHooks):
    batching: ClassVar[bool] = False

    @pytest_asyncio.fixture
    async def cloud(self, embedded_cloud: EmbeddedCloud) -> AsyncIterator[AwsCloud]:
        cloud = embedded_cloud.connect(batching=lambda: self.batching)
        yield cloud
        await cloud.aclose()

    async def deploy(
        self,
        cloud: Cloud,
        *,
        visibility_timeout: int = 30,
        max_receives: int | None = None,
        fifo: bool = False,
    ) -> Deployment:
        assert isinstance(cloud, AwsCloud)
        return await deploy(
            cloud,
            f"contract-{secrets.token_hex(4)}",
            visibility_timeout=visibility_timeout,
            max_receives=max_receives,
            raw_delivery=True,
            fifo=fifo,
        )

    @pytest_asyncio.fixture
    async def unreachable(self) -> AsyncIterator[AwsCloud]:
        away = AwsCloud(
            REGION,
            batching=lambda: self.batching,
            endpoint_url="http://127.0.0.1:1",
            aws_access_key_id="id",
            aws_secret_access_key="secret",
        )
        yield away
        await away.aclose()


class QueueOnAws(OnAws, QueuePromises):
    @pytest.mark.xfail(reason="the emulator takes the receipts of former deliveries", strict=True)
    async def test_who_has_lost_a_message_to_another_cannot_extend_it(self, queue: Queue) -> None:
        await super().test_who_has_lost_a_message_to_another_cannot_extend_it(queue)


class TestAwsCloud(QueueOnAws, CloudContract, TenantPromises):
    """Each call by itself."""

    async def test_a_listing_of_s3_tells_how_large_objects_are(self, bucket: Bucket) -> None:
        await bucket.write("sized/a", b"abc", media_type="text/plain")
        assert [one.size for one in await bucket.listing("sized/")] == [3]

    async def test_a_subscription_leaves_nothing_behind(
        self, cloud: AwsCloud, deployment: Deployment
    ) -> None:
        sns, sqs = await cloud.client("sns"), await cloud.client("sqs")
        async with cloud.topic(deployment.notification_topic).subscribe():
            during = await sns.list_subscriptions_by_topic(TopicArn=deployment.notification_topic)
        (subscription,) = during["Subscriptions"]
        after = await sns.list_subscriptions_by_topic(TopicArn=deployment.notification_topic)
        assert after["Subscriptions"] == []
        queue = subscription["Endpoint"].rpartition(":")[2]
        assert "QueueUrls" not in await sqs.list_queues(QueueNamePrefix=queue)


def refusal(status: int, code: str) -> Status:
    error = f"<ErrorResponse><Error><Code>{code}</Code><Message>x</Message></Error></ErrorResponse>"
    return Status(status, error.encode(), {"content-type": "text/xml"})


CLEAR: dict[str, Fault] = {
    "throttled": refusal(400, "Throttling"),
    "forbidden": refusal(403, "AuthorizationError"),
    "unavailable": refusal(503, "ServiceUnavailable"),
    "no such topic": refusal(404, "NotFound"),
}
UNCLEAR: dict[str, Fault] = {
    "answer lost": LoseAnswer(),
    "reset": Reset(),
    "internal error": refusal(500, "InternalError"),
    "a proxy's own answer": Status(502, b"<html>bad gateway</html>"),
    "no answer of the topic": Status(200, b"<garbage"),
}


class TestPublicationsToAws(OnAws):
    @pytest.mark.parametrize("batching", [False, True])
    @pytest.mark.parametrize("fault", [*CLEAR.values(), *UNCLEAR.values()], ids=[*CLEAR, *UNCLEAR])
    async def test_a_publication_is_asked_for_once_and_says_whether_it_may_have_been_taken(
        self, embedded_cloud: EmbeddedCloud, deployment: Deployment, fault: Fault, batching: bool
    ) -> None:
        async with FaultProxy(embedded_cloud.url) as proxy:
            cloud = AwsCloud(
                REGION,
                batching=lambda: batching,
                endpoint_url=proxy.url,
                aws_access_key_id="id",
                aws_secret_access_key="secret",
            )
            topic = cloud.topic(deployment.job_topic)
            with proxy.fault(fault):
                outcomes = await asyncio.gather(
                    *(topic.publish(body, {}) for body in "ab"), return_exceptions=True
                )
            await cloud.aclose()
        assert proxy.count() == (1 if batching else 2)
        unclear = [isinstance(outcome, Unanswered) for outcome in outcomes]
        assert unclear == [fault in UNCLEAR.values()] * 2, outcomes


class TestAwsCloudWithBatching(QueueOnAws, TenantPromises, FifoPromises, TopicPromises):
    """Calls that come together in one request; the bucket knows none of it."""

    batching = True

    @pytest.mark.parametrize(("batching", "requests"), [(lambda: True, 3), (None, 15)])
    async def test_calls_that_come_together_share_requests_where_they_may(
        self,
        embedded_cloud: EmbeddedCloud,
        deployment: Deployment,
        batching: Callable[[], bool] | None,
        requests: int,
    ) -> None:
        async with FaultProxy(embedded_cloud.url) as proxy:
            cloud = AwsCloud(
                REGION,
                batching=batching,
                endpoint_url=proxy.url,
                aws_access_key_id="id",
                aws_secret_access_key="secret",
            )
            topic, queue = cloud.topic(deployment.job_topic), cloud.queue(deployment.queue_url)
            attributes = {"runtime": deployment.runtime_name}
            await asyncio.gather(*(topic.publish(body, attributes) for body in "abcde"))
            published = proxy.count()
            messages = await received(cloud.queue(deployment.queue_url), 5)
            before = proxy.count()
            await asyncio.gather(*(queue.extend(message, LONG) for message in messages))
            await asyncio.gather(*(queue.delete(message) for message in messages))
            assert published + proxy.count() - before == requests
            await cloud.aclose()


class TestWhatIsGoneFromAws(OnAws):
    async def test_a_topic_a_queue_or_a_bucket_that_was_removed_is_unavailable(
        self, cloud: AwsCloud, deployment: Deployment
    ) -> None:
        sns, sqs, s3 = [await cloud.client(service) for service in ("sns", "sqs", "s3")]
        await sns.delete_topic(TopicArn=deployment.notification_topic)
        await sqs.delete_queue(QueueUrl=deployment.queue_url)
        await s3.delete_bucket(Bucket=deployment.bucket)
        queue, bucket = cloud.queue(deployment.queue_url), cloud.bucket(deployment.bucket)
        for call in (
            cloud.topic(deployment.notification_topic).publish("{}", {}),
            queue.receive(1, wait=0, visibility_timeout=30),
            queue.policy(),
            bucket.write("key", b"", media_type="text/plain"),
            bucket.read("key"),
        ):
            with pytest.raises(Unavailable) as raised:
                await call
            assert raised.value.type == "cloud_not_found"
            assert "setting" in raised.value.remedy
