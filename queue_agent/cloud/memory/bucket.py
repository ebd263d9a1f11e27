"""A bucket in memory."""

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import quote, urlencode

from queue_agent.cloud.memory.clock import Clock, SystemClock
from queue_agent.cloud.memory.faults import Faults
from queue_agent.cloud.ports import Bucket, ListedObject, ObjectPart, Sink
from queue_agent.media.asset import Asset
from queue_agent.wire.errors import ObjectExists, ObjectNotFound, Rejected, Unavailable

PRESIGNED: Final = "https://memory.invalid/"
"""What presigned URLs begin with; `MemoryCloud.fetch` opens them, and nobody else can."""

_CHUNK: Final = 2**16
_MOST_KEYS: Final = 1000


class StoredObject(NamedTuple):
    """What a key holds."""

    data: bytes
    media_type: str


class MemoryBucket(Bucket):
    """Objects by key; tests may read and change `objects` as they like."""

    def __init__(self, name: str, clock: Clock | None = None, faults: Faults | None = None) -> None:
        self.name = name
        self.objects: dict[str, StoredObject] = {}
        self._written: dict[str, float] = {}
        self._clock = clock or SystemClock()
        self._faults = faults or Faults()

    def put(self, key: str, data: bytes, media_type: str = "application/octet-stream") -> None:
        """Write without a loop and past all faults, for tests to begin with."""
        self.objects[key] = StoredObject(bytes(data), media_type)
        self._written[key] = self._clock.now()

    async def read_into(self, key: str, sink: Sink, *, limit: int | None = None) -> None:
        async with self._faults.around("bucket.read", key):
            if key not in self.objects:
                raise ObjectNotFound(f"{self.url(key)} does not exist.")
            data = self.objects[key].data
            if limit is not None and len(data) > limit:
                raise Rejected(
                    f"{self.url(key)} has more than {limit} bytes.", type="reference_too_large"
                )
            for start in range(0, len(data), _CHUNK):
                await sink(data[start : start + _CHUNK])

    async def read_range(self, key: str, start: int, size: int) -> ObjectPart:
        async with self._faults.around("bucket.read", key):
            if key not in self.objects:
                raise ObjectNotFound(f"{self.url(key)} does not exist.")
            data = self.objects[key].data
            return ObjectPart(data[start : start + size], len(data))

    async def write(
        self,
        key: str,
        data: bytes | Asset,
        *,
        media_type: str,
        create_only: bool = False,
        sha256: str | None = None,
    ) -> None:
        async with self._faults.around("bucket.write", key):
            if create_only and key in self.objects:
                raise ObjectExists(f"{self.url(key)} exists.")
            body = data if isinstance(data, bytes) else data.data
            if sha256 not in {None, hashlib.sha256(body).hexdigest()}:
                raise Unavailable(f"{self.url(key)} has another digest than was told.")
            self.put(key, body, media_type)

    async def exists(self, key: str) -> bool:
        async with self._faults.around("bucket.exists", key):
            return key in self.objects

    async def delete(self, key: str) -> None:
        async with self._faults.around("bucket.delete", key):
            self.objects.pop(key, None)

    async def keys(self, prefix: str, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        async with self._faults.around("bucket.keys", prefix):
            found = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
            return found[: min(limit, _MOST_KEYS)]

    async def listing(
        self, prefix: str, *, after: str = "", limit: int = 1000
    ) -> Sequence[ListedObject]:
        keys = await self.keys(prefix, after=after, limit=limit)
        return [
            ListedObject(key, self._written.get(key), len(self.objects[key].data)) for key in keys
        ]

    async def presign(self, key: str, *, seconds: float) -> str:
        async with self._faults.around("bucket.presign", key):
            query = urlencode({"expires": self._clock.now() + seconds})
            return f"{PRESIGNED}{self.name}/{quote(key)}?{query}"
