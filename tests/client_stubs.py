"""A cloud in memory, for what is hard to bring about in a real one."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from queue_agent.cloud import Bucket, Cloud, Publication, Queue, Sink, Topic
from queue_agent.wire.errors import ObjectExists, ObjectNotFound


class Shelf(Bucket):
    """A bucket in memory."""

    def __init__(self) -> None:
        self.name = "shelf"
        self.objects: dict[str, bytes] = {}

    async def read_into(self, key: str, sink: Sink, *, limit: int | None = None) -> None:
        del limit
        if key not in self.objects:
            raise ObjectNotFound(key)
        await sink(self.objects[key])

    async def write(
        self, key: str, data: bytes, *, media_type: str, create_only: bool = False
    ) -> None:
        del media_type
        if create_only and key in self.objects:
            raise ObjectExists(key)
        self.objects[key] = data

    async def exists(self, key: str) -> bool:
        return key in self.objects

    async def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    async def keys(self, prefix: str, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        return sorted(key for key in self.objects if key.startswith(prefix) and key > after)[:limit]

    async def presign(self, key: str, *, seconds: float) -> str:
        return f"https://example.com/{key}?for={seconds}"


class PartialTopic(Topic):
    """Takes of each batch what `refuses` does not name, each as often as it says."""

    size_limit = 262_144

    def __init__(self, refuses: dict[str, int]) -> None:
        self.taken: list[str] = []
        self._refuses = refuses

    async def publish(self, body: str, attributes: Mapping[str, str]) -> None:
        del attributes
        self.taken.append(body)

    async def publish_many(self, publications: Sequence[Publication]) -> Mapping[int, str]:
        failed = {}
        for place, publication in enumerate(publications):
            name = next((name for name in self._refuses if name in publication.body), None)
            if name is not None and self._refuses[name]:
                self._refuses[name] -= 1
                failed[place] = "throttled"
            else:
                self.taken.append(publication.body)
        return failed

    async def check(self) -> None:
        """It can always be reached."""

    def subscribe(
        self, filter_policy: Mapping[str, Sequence[str]] | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        raise NotImplementedError


class StubCloud(Cloud):
    """One topic and one bucket."""

    def __init__(self, topic: Topic, bucket: Bucket) -> None:
        self._topic = topic
        self._bucket = bucket

    def queue(self, url: str) -> Queue:
        raise NotImplementedError

    def topic(self, name: str) -> Topic:
        del name
        return self._topic

    def bucket(self, name: str) -> Bucket:
        del name
        return self._bucket

    async def aclose(self) -> None:
        """Nothing is open."""
