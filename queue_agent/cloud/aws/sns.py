"""SNS: the topics that jobs and notifications go to."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from queue_agent.cloud import Ordering, Publication, Routing, Topic
from queue_agent.cloud.aws import wiring
from queue_agent.cloud.aws.attributes import message_attributes, ordering_fields
from queue_agent.cloud.aws.errors import translated
from queue_agent.cloud.aws.limits import LARGEST_PUBLICATION, MOST_ENTRIES
from queue_agent.cloud.aws.subscription import subscription

Clients = Callable[[str], Awaitable[Any]]


class SnsTopic(Topic):
    """https://docs.aws.amazon.com/sns/latest/api/"""

    def __init__(self, client: Clients, arn: str) -> None:
        self._client = client
        self._arn = arn

    async def publish(
        self, body: str, attributes: Mapping[str, str], ordering: Ordering | None = None
    ) -> None:
        await self.publish_one(Publication(body, attributes, ordering or Ordering()))

    async def publish_one(self, publication: Publication) -> None:
        """Like `publish`."""
        sns = await self._client("sns")
        with translated("publish to the topic"):
            await sns.publish(
                TopicArn=self._arn,
                Message=publication.body,
                MessageAttributes=message_attributes(publication.attributes),
                **ordering_fields(self._arn, publication.ordering),
            )

    @property
    def size_limit(self) -> int:
        return LARGEST_PUBLICATION

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
                            **ordering_fields(self._arn, publications[place].ordering),
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

    async def reaches(self, queue_url: str, publication: Publication) -> bool:
        return await wiring.reaches(await self._client("sns"), self._arn, queue_url, publication)

    async def routing(
        self, attribute: str, among: Mapping[str, str] | None = None
    ) -> Routing | None:
        return await wiring.routing(await self._client("sns"), self._arn, attribute, among or {})

    def subscribe(self, filter_policy: Mapping[str, Sequence[str]] | None = None) -> Any:
        return subscription(self._client, self._arn, filter_policy)


def _batches(publications: Sequence[Publication]) -> Iterator[list[int]]:
    """Places of what fits one request: few enough, and together within the size limit."""
    batch: list[int] = []
    size = 0
    for place, publication in enumerate(publications):
        if batch and (len(batch) == MOST_ENTRIES or size + publication.size > LARGEST_PUBLICATION):
            yield batch
            batch, size = [], 0
        batch.append(place)
        size += publication.size
    if batch:
        yield batch
