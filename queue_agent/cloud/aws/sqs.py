"""SQS: the queue that jobs come from."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from queue_agent.cloud import Backlog, Linger, Message, Queue, QueuePolicy
from queue_agent.cloud.aws.attributes import message_attributes
from queue_agent.cloud.aws.batching import Batcher
from queue_agent.cloud.aws.errors import Failures, failures, translated

Client = Callable[[], Awaitable[Any]]
Entry = dict[str, str | int]


class SqsQueue(Queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/"""

    def __init__(self, client: Client, url: str, *, linger: Linger = 0.0) -> None:
        """Deletes and extensions may wait `linger` seconds to share a call with others."""
        self._client = client
        self._url = url
        self._deletes = Batcher(self._delete_all, linger)
        self._extensions = Batcher(self._extend_all, linger)

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
                MaxNumberOfMessages=count,
                WaitTimeSeconds=round(wait),
                VisibilityTimeout=max(1, round(visibility_timeout)),
                MessageSystemAttributeNames=[
                    "ApproximateReceiveCount",
                    "SentTimestamp",
                    "AWSTraceHeader",
                ],
                MessageAttributeNames=["All"],
            )
        return [_message(raw) for raw in answer.get("Messages", ())]

    async def extend(self, message: Message, seconds: float) -> None:
        await self._extensions.add((message.receipt, max(0, round(seconds))))

    async def delete(self, message: Message) -> None:
        await self._deletes.add(message.receipt)

    async def _extend_all(self, wanted: Sequence[tuple[str, int]]) -> Failures:
        sqs, action = await self._client(), "change a message's visibility"
        entries: list[Entry] = [
            {"Id": str(place), "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
            for place, (receipt, seconds) in enumerate(wanted)
        ]
        with translated(action, lease=True):
            if len(entries) == 1:
                await sqs.change_message_visibility(QueueUrl=self._url, **_without_id(entries[0]))
                return [None]
            answer = await sqs.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
        return failures(answer, len(entries), action, lease=True)

    async def _delete_all(self, receipts: Sequence[str]) -> Failures:
        sqs, action = await self._client(), "delete a message"
        entries: list[Entry] = [
            {"Id": str(place), "ReceiptHandle": receipt} for place, receipt in enumerate(receipts)
        ]
        with translated(action, lease=True):
            if len(entries) == 1:
                await sqs.delete_message(QueueUrl=self._url, **_without_id(entries[0]))
                return [None]
            answer = await sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)
        return failures(answer, len(entries), action, lease=True)

    async def send(self, body: str, attributes: Mapping[str, str]) -> None:
        sqs = await self._client()
        with translated("send a message"):
            await sqs.send_message(
                QueueUrl=self._url,
                MessageBody=body,
                MessageAttributes=message_attributes(attributes),
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


def _without_id(entry: Entry) -> Entry:
    return {name: value for name, value in entry.items() if name != "Id"}


def _message(raw: Mapping[str, Any]) -> Message:
    system = raw.get("Attributes", {})
    attributes = {
        name: str(attribute.get("StringValue", ""))
        for name, attribute in raw.get("MessageAttributes", {}).items()
    }
    if "AWSTraceHeader" in system:
        attributes["AWSTraceHeader"] = system["AWSTraceHeader"]
    sent = system.get("SentTimestamp")
    return Message(
        id=raw["MessageId"],
        body=raw.get("Body", ""),
        receipt=raw["ReceiptHandle"],
        receive_count=int(system.get("ApproximateReceiveCount", 1)),
        sent_at=int(sent) / 1000 if sent else None,
        attributes=attributes,
    )


def _max_receives(redrive_policy: str | None) -> int | None:
    if not redrive_policy:
        return None
    return int(json.loads(redrive_policy)["maxReceiveCount"])
