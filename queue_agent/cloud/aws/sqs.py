"""SQS: the queue that jobs come from."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from queue_agent.cloud import Backlog, Message, Ordering, Queue, QueuePolicy
from queue_agent.cloud.aws.attributes import is_fifo, message_attributes, ordering_fields
from queue_agent.cloud.aws.errors import Failures, failures, translated
from queue_agent.cloud.aws.limits import LONGEST_DELAY, MOST_ENTRIES

Client = Callable[[], Awaitable[Any]]

_EXTEND: Final = "change a message's visibility"
_DELETE: Final = "delete a message"


class SqsQueue(Queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/"""

    def __init__(self, client: Client, url: str) -> None:
        self._client = client
        self._url = url

    async def policy(self) -> QueuePolicy:
        sqs = await self._client()
        with translated("read the queue's attributes"):
            answer = await sqs.get_queue_attributes(
                QueueUrl=self._url, AttributeNames=["VisibilityTimeout", "RedrivePolicy"]
            )
        attributes = answer.get("Attributes", {})
        return QueuePolicy(
            visibility_timeout=float(attributes.get("VisibilityTimeout", 30)),
            max_receives=_max_receives(attributes.get("RedrivePolicy")),
        )

    async def receive(
        self, count: int, *, wait: float, visibility_timeout: float
    ) -> Sequence[Message]:
        sqs = await self._client()
        with translated("receive messages"):
            answer = await sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=min(count, MOST_ENTRIES),
                WaitTimeSeconds=round(wait),
                VisibilityTimeout=max(1, round(visibility_timeout)),
                MessageSystemAttributeNames=[
                    "ApproximateReceiveCount",
                    "SentTimestamp",
                    "AWSTraceHeader",
                    "MessageGroupId",
                ],
                MessageAttributeNames=["All"],
            )
        fifo = is_fifo(self._url)
        return [_message(raw, fifo=fifo) for raw in answer.get("Messages", ())]

    async def extend(self, message: Message, seconds: float) -> None:
        sqs = await self._client()
        with translated(_EXTEND, lease=True):
            await sqs.change_message_visibility(
                QueueUrl=self._url,
                ReceiptHandle=message.receipt,
                VisibilityTimeout=_whole_seconds(seconds),
            )

    async def extend_all(self, wanted: Sequence[tuple[Message, float]]) -> Failures:
        """Extend up to `MOST_ENTRIES` in one call; an error, or None, for each."""
        sqs = await self._client()
        entries = [
            {
                "Id": str(place),
                "ReceiptHandle": message.receipt,
                "VisibilityTimeout": _whole_seconds(seconds),
            }
            for place, (message, seconds) in enumerate(wanted)
        ]
        with translated(_EXTEND, lease=True):
            answer = await sqs.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
        return failures(answer, len(entries), _EXTEND, lease=True)

    async def delete(self, message: Message) -> None:
        sqs = await self._client()
        with translated(_DELETE, lease=True):
            await sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message.receipt)

    async def delete_all(self, messages: Sequence[Message]) -> Failures:
        """Delete up to `MOST_ENTRIES` in one call; an error, or None, for each."""
        sqs = await self._client()
        entries = [
            {"Id": str(place), "ReceiptHandle": message.receipt}
            for place, message in enumerate(messages)
        ]
        with translated(_DELETE, lease=True):
            answer = await sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)
        return failures(answer, len(entries), _DELETE, lease=True)

    @property
    def longest_delay(self) -> float:
        """A queue that keeps an order has one delay for all of its messages."""
        return 0.0 if is_fifo(self._url) else LONGEST_DELAY

    async def send(
        self,
        body: str,
        attributes: Mapping[str, str],
        ordering: Ordering | None = None,
        *,
        delay: float = 0.0,
    ) -> None:
        sqs = await self._client()
        later = {"DelaySeconds": max(1, _whole_seconds(delay))} if delay else {}
        with translated("send a message"):
            await sqs.send_message(
                QueueUrl=self._url,
                MessageBody=body,
                MessageAttributes=message_attributes(attributes),
                **later,
                **ordering_fields(self._url, ordering),
            )

    async def backlog(self) -> Backlog:
        sqs = await self._client()
        with translated("read the queue's attributes"):
            answer = await sqs.get_queue_attributes(
                QueueUrl=self._url,
                AttributeNames=[
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesNotVisible",
                ],
            )
        attributes = answer.get("Attributes", {})
        return Backlog(
            waiting=int(attributes.get("ApproximateNumberOfMessages", 0)),
            in_flight=int(attributes.get("ApproximateNumberOfMessagesNotVisible", 0)),
        )


def _whole_seconds(seconds: float) -> int:
    return max(0, round(seconds))


def _message(raw: Mapping[str, Any], *, fifo: bool) -> Message:
    system = raw.get("Attributes", {})
    attributes = {
        name: str(attribute.get("StringValue", ""))
        for name, attribute in raw.get("MessageAttributes", {}).items()
    }
    if "AWSTraceHeader" in system:
        attributes["AWSTraceHeader"] = system["AWSTraceHeader"]
    sent, group = system.get("SentTimestamp"), system.get("MessageGroupId")
    return Message(
        id=raw["MessageId"],
        body=raw.get("Body", ""),
        receipt=raw["ReceiptHandle"],
        receive_count=int(system.get("ApproximateReceiveCount", 1)),
        sent_at=int(sent) / 1000 if sent else None,
        attributes=attributes,
        group=group if fifo else None,
        tenant=None if fifo else group,
    )


def _max_receives(redrive_policy: str | None) -> int | None:
    if not redrive_policy:
        return None
    return int(json.loads(redrive_policy)["maxReceiveCount"])
