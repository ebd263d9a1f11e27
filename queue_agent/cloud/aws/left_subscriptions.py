"""Queues and subscriptions to listen by whose process was killed before it removed them."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from queue_agent.cloud.aws.addresses import is_queue
from queue_agent.cloud.aws.attributes import ordering_fields
from queue_agent.cloud.aws.errors import translated
from queue_agent.cloud.aws.subscription import QUEUE_PREFIX
from queue_agent.cloud.refusals import reason_of
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.publication import Ordering

_OURS: Final = re.compile(rf"{QUEUE_PREFIX}[0-9a-f]{{32}}(\.fifo)?")
_QUEUE: Final = re.compile(
    rf"arn:[\w-]+:sqs:(?P<region>[\w-]+):(?P<account>\w+):(?P<name>{_OURS.pattern})"
)
_PROBE: Final = '{"queue-agent": "Is anybody listening?"}'
"""No notification, so that who listens drops it."""
_PATIENCE: Final = 5.0
_UNREAD: Final = 3.0
"""Seconds in a queue after which nobody takes a message; who listens does so at once."""


async def left_queues(sqs: Any, *, now: Callable[[], float], age: float) -> list[str]:
    """The URLs of those made more than `age` seconds ago by which nobody listens any more.

    Each is sent a message that is none: where that is still there after some seconds, nobody
    takes it. `now` tells the cloud's time.
    """
    asked = []
    async for url in _queues(sqs):
        with _gone_meanwhile():
            if await _made(sqs, url) < now() - age:
                await _ask(sqs, url)
                asked.append(url)
    left = []
    if asked:
        await asyncio.sleep(_PATIENCE)
    for url in asked:
        with _gone_meanwhile():
            if await _is_unread(sqs, url, now() - _UNREAD):
                left.append(url)
    return left


async def left_subscriptions(sqs: Any, sns: Any) -> list[str]:
    """The ARNs of subscriptions of such queues of this region that are gone.

    Who listens makes the queue before the subscription, and removes it after that.
    """
    found = [
        (each["SubscriptionArn"], queue)
        async for each in _subscriptions(sns)
        if each.get("Protocol") == "sqs"
        and each["SubscriptionArn"].startswith("arn:")
        and (queue := _QUEUE.fullmatch(each["Endpoint"]))
        and queue["region"] == sqs.meta.region_name
    ]
    return [arn for arn, queue in found if not await _exists(sqs, queue["account"], queue["name"])]


async def _exists(sqs: Any, account: str, name: str) -> bool:
    """Whether there is such a queue, or nobody may know."""
    try:
        with translated("look for the queue"):
            await sqs.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)
    except Unavailable as error:
        if reason_of(error) == "unauthorized":
            return True
        if reason_of(error) == "not_found":
            return False
        raise
    return True


async def remove_subscription(sns: Any, arn: str) -> None:
    """Remove a subscription whose queue is gone."""
    with _gone_meanwhile(), translated("remove the subscription"):
        await sns.unsubscribe(SubscriptionArn=arn)


async def remove_queue(sqs: Any, sns: Any, url: str) -> None:
    """Remove the queue, after all that is subscribed by it."""
    async for subscription in _subscriptions(sns):
        if subscription.get("Protocol") == "sqs" and is_queue(subscription["Endpoint"], url):
            with translated("remove the subscription"):
                await sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
    with _gone_meanwhile(), translated("remove the queue listened with"):
        await sqs.delete_queue(QueueUrl=url)


@contextmanager
def _gone_meanwhile() -> Iterator[None]:
    """Who listened has removed the queue: there is nothing more to do with it."""
    try:
        yield
    except Unavailable as error:
        if reason_of(error) != "not_found":
            raise


async def _ask(sqs: Any, url: str) -> None:
    with translated("ask whether anybody listens"):
        await sqs.send_message(
            QueueUrl=url, MessageBody=_PROBE, **ordering_fields(url, Ordering("probe"))
        )


async def _queues(sqs: Any) -> AsyncIterator[str]:
    page: dict[str, str] = {}
    while True:
        with translated("list queues"):
            answer = await sqs.list_queues(QueueNamePrefix=QUEUE_PREFIX, MaxResults=1000, **page)
        for url in answer.get("QueueUrls", ()):
            if _OURS.fullmatch(url.rpartition("/")[2]):
                yield url
        if not answer.get("NextToken"):
            return
        page = {"NextToken": answer["NextToken"]}


async def _made(sqs: Any, url: str) -> float:
    with translated("read the queue's attributes"):
        answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["CreatedTimestamp"])
    return float(answer["Attributes"]["CreatedTimestamp"])


async def _is_unread(sqs: Any, url: str, before: float) -> bool:
    """Whether the queue holds what was sent before then; nothing is taken from who listens."""
    with translated("look what nobody took"):
        answer = await sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=1,
            VisibilityTimeout=0,
            AttributeNames=["SentTimestamp"],
        )
    return any(
        float(message["Attributes"]["SentTimestamp"]) / 1000 < before
        for message in answer.get("Messages", ())
    )


async def _subscriptions(sns: Any) -> AsyncIterator[Mapping[str, str]]:
    page: dict[str, str] = {}
    while True:
        with translated("list subscriptions"):
            answer = await sns.list_subscriptions(**page)
        for subscription in answer.get("Subscriptions", ()):
            yield subscription
        if not answer.get("NextToken"):
            return
        page = {"NextToken": answer["NextToken"]}
