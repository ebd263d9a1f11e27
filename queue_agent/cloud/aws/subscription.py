"""A subscription to an SNS topic through a queue of its own, both removed afterwards."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from queue_agent.cloud.aws.attributes import is_fifo
from queue_agent.cloud.aws.errors import translated

QUEUE_PREFIX: Final = "queue-agent-watch-"
"""Of the names of queues that are made here; rights are given by it."""

Clients = Callable[[str], Awaitable[Any]]


@asynccontextmanager
async def subscription(
    client: Clients, topic_arn: str, filter_policy: Mapping[str, Sequence[str]] | None
) -> AsyncIterator[AsyncIterator[str]]:
    """The bodies published to the topic from now on, as an endless iterator.

    Of a topic that keeps an order they come in it, by a queue that does.
    """
    sqs, sns = await client("sqs"), await client("sns")
    fifo = is_fifo(topic_arn)
    with translated("make a queue to listen with"):
        made = await _made(
            sqs.create_queue(
                QueueName=f"{QUEUE_PREFIX}{uuid.uuid4().hex}{'.fifo' if fifo else ''}",
                Attributes={
                    "MessageRetentionPeriod": "3600",
                    "SqsManagedSseEnabled": "true",
                    **({"FifoQueue": "true"} if fifo else {}),
                },
            ),
            lambda made: sqs.delete_queue(QueueUrl=made["QueueUrl"]),
        )
    url = made["QueueUrl"]
    try:
        arn = await _allow(sqs, url, topic_arn)
        attributes = {"RawMessageDelivery": "true"}
        if filter_policy:
            attributes["FilterPolicy"] = json.dumps(
                {name: list(values) for name, values in filter_policy.items()}
            )
        with translated("subscribe to the topic"):
            subscribed = await _made(
                sns.subscribe(
                    TopicArn=topic_arn,
                    Protocol="sqs",
                    Endpoint=arn,
                    Attributes=attributes,
                    ReturnSubscriptionArn=True,
                ),
                lambda made: sns.unsubscribe(SubscriptionArn=made["SubscriptionArn"]),
            )
        try:
            yield _bodies(sqs, url)
        finally:
            with translated("remove the subscription"):
                await asyncio.shield(sns.unsubscribe(SubscriptionArn=subscribed["SubscriptionArn"]))
    finally:
        with translated("remove the queue listened with"):
            await asyncio.shield(sqs.delete_queue(QueueUrl=url))


async def _made(
    request: Coroutine[Any, Any, Mapping[str, Any]],
    undo: Callable[[Mapping[str, Any]], Awaitable[object]],
) -> Mapping[str, Any]:
    """The answer of what makes something; one that was cancelled meanwhile undoes it."""
    making = asyncio.create_task(request)
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        await asyncio.wait({making})
        if making.exception() is None:
            await undo(making.result())
        raise


async def _allow(sqs: Any, url: str, topic_arn: str) -> str:
    """Let the topic, and nobody else, send to the queue; the queue's ARN."""
    with translated("read the queue's attributes"):
        answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    arn: str = answer["Attributes"]["QueueArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    with translated("let the topic send to the queue"):
        await sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    return arn


async def _bodies(sqs: Any, url: str) -> AsyncIterator[str]:
    while True:
        with translated("receive notifications"):
            answer = await sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20
            )
        for message in answer.get("Messages", ()):
            with translated("delete a notification"):
                await sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            yield message["Body"]
