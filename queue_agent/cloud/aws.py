"""AWS: SQS, SNS and S3, or anything that speaks their protocols at ``AWS_ENDPOINT_URL``.

Credentials come from the SDK's own chain (environment, web identity, pod identity, instance
role, …) and are refreshed without blocking the event loop.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session

from queue_agent.cloud import (
    Backlog,
    Bucket,
    Cloud,
    Message,
    Publication,
    Queue,
    QueuePolicy,
    Topic,
)
from queue_agent.cloud.aws_errors import translated
from queue_agent.cloud.aws_subscription import subscription
from queue_agent.errors import ObjectNotFound, Rejected

_LONGEST_POLL: Final = 20.0
_CHUNK: Final = 2**20
_LARGEST_PUBLICATION: Final = 262_144
_LARGEST_BATCH: Final = 10
"""Both of SNS: https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html"""


class AwsCloud(Cloud):
    """One client per service, made on first use and shared by all ports."""

    def __init__(self, region: str, **options: str) -> None:
        """`options` go to the SDK's clients; what is not given it finds in the environment."""
        self._options = {"region_name": region, **options}
        self._session: AioSession = get_session()
        self._stack = AsyncExitStack()
        self._clients: dict[str, Any] = {}
        self._creating = asyncio.Lock()

    def queue(self, url: str) -> "SqsQueue":
        return SqsQueue(self, url)

    def topic(self, name: str) -> "SnsTopic":
        return SnsTopic(self, name)

    def bucket(self, name: str) -> "S3Bucket":
        return S3Bucket(self, name)

    async def aclose(self) -> None:
        self._clients.clear()
        await self._stack.aclose()

    async def client(self, service: str) -> Any:
        """The process's client for ``"sqs"``, ``"sns"`` or ``"s3"``."""
        if service not in self._clients:
            async with self._creating:
                if service not in self._clients:
                    self._clients[service] = await self._create(service)
        return self._clients[service]

    async def _create(self, service: str) -> Any:
        client = await self._stack.enter_async_context(
            self._session.create_client(service, config=_config(service, {}), **self._options)
        )
        if service == "s3" and ".amazonaws." not in client.meta.endpoint_url:
            # other servers rarely answer to BUCKET.HOST
            client = await self._stack.enter_async_context(
                self._session.create_client(
                    service,
                    config=_config(service, {"addressing_style": "path"}),
                    **self._options,
                )
            )
        return client


class SqsQueue(Queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/"""

    def __init__(self, cloud: AwsCloud, url: str) -> None:
        self._cloud = cloud
        self._url = url

    async def policy(self) -> QueuePolicy:
        sqs = await self._cloud.client("sqs")
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
        sqs = await self._cloud.client("sqs")
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
        sqs = await self._cloud.client("sqs")
        with translated("change a message's visibility", lease=True):
            await sqs.change_message_visibility(
                QueueUrl=self._url,
                ReceiptHandle=message.receipt,
                VisibilityTimeout=max(0, round(seconds)),
            )

    async def delete(self, message: Message) -> None:
        sqs = await self._cloud.client("sqs")
        with translated("delete a message", lease=True):
            await sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message.receipt)


    async def send(self, body: str, attributes: Mapping[str, str]) -> None:
        sqs = await self._cloud.client("sqs")
        with translated("send a message"):
            await sqs.send_message(
                QueueUrl=self._url, MessageBody=body, MessageAttributes=_attributes(attributes)
            )

    async def backlog(self) -> Backlog:
        sqs = await self._cloud.client("sqs")
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


class SnsTopic(Topic):
    """https://docs.aws.amazon.com/sns/latest/api/"""

    def __init__(self, cloud: AwsCloud, arn: str) -> None:
        self._cloud = cloud
        self._arn = arn

    async def publish(self, body: str, attributes: Mapping[str, str]) -> None:
        sns = await self._cloud.client("sns")
        with translated("publish to the topic"):
            await sns.publish(
                TopicArn=self._arn,
                Message=body,
                MessageAttributes=_attributes(attributes),
            )

    @property
    def size_limit(self) -> int:
        return _LARGEST_PUBLICATION

    async def publish_many(self, publications: Sequence[Publication]) -> Mapping[int, str]:
        sns = await self._cloud.client("sns")
        failed: dict[int, str] = {}
        for batch in _batches(publications):
            with translated("publish to the topic"):
                answer = await sns.publish_batch(
                    TopicArn=self._arn,
                    PublishBatchRequestEntries=[
                        {
                            "Id": str(place),
                            "Message": publications[place].body,
                            "MessageAttributes": _attributes(publications[place].attributes),
                        }
                        for place in batch
                    ],
                )
            for entry in answer.get("Failed", ()):
                failed[int(entry["Id"])] = str(entry.get("Message") or entry.get("Code", ""))
        return failed

    async def check(self) -> None:
        sns = await self._cloud.client("sns")
        with translated("read the topic's attributes"):
            await sns.get_topic_attributes(TopicArn=self._arn)

    def subscribe(self, filter_policy: Mapping[str, Sequence[str]] | None = None) -> Any:
        return subscription(self._cloud, self._arn, filter_policy)


class S3Bucket(Bucket):
    """https://docs.aws.amazon.com/AmazonS3/latest/API/

    Payloads are left unsigned over TLS only, where a checksum guards them: the SDK's default.
    """

    def __init__(self, cloud: AwsCloud, name: str) -> None:
        self._cloud = cloud
        self.name = name

    async def read(self, key: str, *, limit: int | None = None) -> bytes:
        s3 = await self._cloud.client("s3")
        with translated(f"read {self.url(key)}"):
            answer = await s3.get_object(Bucket=self.name, Key=key)
            async with answer["Body"] as body:
                announced = int(answer.get("ContentLength") or 0)
                data = bytearray()
                while limit is None or max(announced, len(data)) <= limit:
                    most = _CHUNK if limit is None else min(_CHUNK, limit + 1 - len(data))
                    if not (chunk := await body.read(most)):
                        return bytes(data)
                    data += chunk
        raise Rejected(
            f"{self.url(key)} has more than {limit} bytes.", type="reference_too_large"
        )

    async def write(
        self, key: str, data: bytes, *, media_type: str, create_only: bool = False
    ) -> None:
        s3 = await self._cloud.client("s3")
        condition = {"IfNoneMatch": "*"} if create_only else {}
        with translated(f"write {self.url(key)}"):
            await s3.put_object(
                Bucket=self.name, Key=key, Body=data, ContentType=media_type, **condition
            )

    async def exists(self, key: str) -> bool:
        s3 = await self._cloud.client("s3")
        try:
            with translated(f"look for {self.url(key)}"):
                await s3.head_object(Bucket=self.name, Key=key)
        except ObjectNotFound:
            return False
        return True

    async def delete(self, key: str) -> None:
        s3 = await self._cloud.client("s3")
        with translated(f"delete {self.url(key)}"):
            await s3.delete_object(Bucket=self.name, Key=key)

    async def keys(self, prefix: str, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        s3 = await self._cloud.client("s3")
        with translated(f"list {self.url(prefix)}"):
            answer = await s3.list_objects_v2(
                Bucket=self.name, Prefix=prefix, StartAfter=after, MaxKeys=limit
            )
        return [entry["Key"] for entry in answer.get("Contents", ())]

    async def presign(self, key: str, *, seconds: float) -> str:
        s3 = await self._cloud.client("s3")
        with translated(f"presign {self.url(key)}"):
            url: str = await s3.generate_presigned_url(
                "get_object", Params={"Bucket": self.name, "Key": key}, ExpiresIn=round(seconds)
            )
        return url


def _config(service: str, s3: Mapping[str, str]) -> AioConfig:
    return AioConfig(
        signature_version="s3v4" if service == "s3" else None,  # also for presigned links
        connect_timeout=5,
        read_timeout=_LONGEST_POLL + 10 if service == "sqs" else 30,
        max_pool_connections=50,
        retries={"mode": "standard", "total_max_attempts": 3},
        s3=dict(s3) or None,
    )


def _attributes(attributes: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {
        name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
    }


def _batches(publications: Sequence[Publication]) -> Iterator[list[int]]:
    """Places of what fits one request: few enough, and together within the size limit."""
    batch: list[int] = []
    size = 0
    for place, publication in enumerate(publications):
        if batch and (len(batch) == _LARGEST_BATCH or size + publication.size > _LARGEST_PUBLICATION):
            yield batch
            batch, size = [], 0
        batch.append(place)
        size += publication.size
    if batch:
        yield batch


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
