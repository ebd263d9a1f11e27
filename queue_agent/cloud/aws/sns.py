"""SNS: the topics that jobs and notifications go to."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from queue_agent.cloud import Linger, Publication, Topic
from queue_agent.cloud.aws.attributes import message_attributes
from queue_agent.cloud.aws.batching import Batcher
from queue_agent.cloud.aws.errors import Failures, translated
from queue_agent.cloud.aws.subscription import subscription
from queue_agent.wire.errors import Unavailable

Clients = Callable[[str], Awaitable[Any]]

_LARGEST_PUBLICATION: Final = 262_144
_LARGEST_BATCH: Final = 10
"""Both: https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html"""


class SnsTopic(Topic):
    """https://docs.aws.amazon.com/sns/latest/api/"""

    def __init__(self, client: Clients, arn: str, *, linger: Linger = 0.0) -> None:
        """Publications may wait `linger` seconds to share a call with others."""
        self._client = client
        self._arn = arn
        self._publications = Batcher(
            self._publish_all,
            linger,
            weigh=lambda publication: publication.size,
            capacity=_LARGEST_PUBLICATION,
        )

    async def publish(self, body: str, attributes: Mapping[str, str]) -> None:
        await self._publications.add(Publication(body, attributes))

    async def _publish_all(self, publications: Sequence[Publication]) -> Failures:
        if len(publications) == 1:
            await self._publish_one(publications[0])
            return [None]
        failed = await self.publish_many(publications)
        return [
            Unavailable(
                f"Could not publish to the topic: {failed[place]}", type="cloud_unavailable"
            )
            if place in failed
            else None
            for place in range(len(publications))
        ]

    async def _publish_one(self, publication: Publication) -> None:
        sns = await self._client("sns")
        with translated("publish to the topic"):
            await sns.publish(
                TopicArn=self._arn,
                Message=publication.body,
                MessageAttributes=message_attributes(publication.attributes),
            )

    @property
    def size_limit(self) -> int:
        return _LARGEST_PUBLICATION

    async def publish_many(self, publications: Sequence[Publication]) -> Mapping[int, str]:
        sns = await self._client("sns")
        failed: dict[int, str] = {}
        for batch in _batches(publications):
            with translated("publish to the topic"):
                answer = await sns.publish_batch(
                    TopicArn=self._arn,
                    PublishBatchRequestEntries=[
                        {
                            "Id": str(place),
                            "Message": publications[place].body,
                            "MessageAttributes": message_attributes(publications[place].attributes),
                        }
                        for place in batch
                    ],
                )
            for entry in answer.get("Failed", ()):
                failed[int(entry["Id"])] = str(entry.get("Message") or entry.get("Code", ""))
        return failed

    async def check(self) -> None:
        sns = await self._client("sns")
        with translated("read the topic's attributes"):
            await sns.get_topic_attributes(TopicArn=self._arn)

    def subscribe(self, filter_policy: Mapping[str, Sequence[str]] | None = None) -> Any:
        return subscription(self._client, self._arn, filter_policy)


def _batches(publications: Sequence[Publication]) -> Iterator[list[int]]:
    """Places of what fits one request: few enough, and together within the size limit."""
    batch: list[int] = []
    size = 0
    for place, publication in enumerate(publications):
        if batch and (
            len(batch) == _LARGEST_BATCH or size + publication.size > _LARGEST_PUBLICATION
        ):
            yield batch
            batch, size = [], 0
        batch.append(place)
        size += publication.size
    if batch:
        yield batch
