"""Learning from the bucket: what the jobs took whose manifests were written last."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

import structlog
from cachetools import LRUCache
from pydantic import ValidationError

from queue_agent.cloud import Bucket, ListedObject
from queue_agent.scaling.job_seconds import JobSeconds
from queue_agent.wire.errors import ObjectNotFound, Rejected
from queue_agent.wire.layout import is_manifest
from queue_agent.wire.result import Result

log = structlog.get_logger()

_PAGES: Final = 4
"""Of a thousand keys, that are listed at a time in each folder."""
_MANIFESTS: Final = 20
"""That are read at a time."""
_LARGEST: Final = 2**20
"""Bytes of a manifest that is read."""
_LONGEST: Final = 86_400.0
"""Seconds; what says it took longer is wrong."""
_REMEMBERED: Final = 10_000


class ManifestReader:
    """Reads the latest of the manifests that a bounded listing finds, each once.

    A store lists by name and not by time. So each time it looks at what comes after all names seen
    so far, which is the latest where ids follow the time, and goes on through the others.
    """

    def __init__(
        self, bucket: Bucket, folders: Sequence[str], runtime: str, learned: JobSeconds
    ) -> None:
        """`folders` are those of results; manifests of other runtimes say nothing."""
        self._bucket = bucket
        self._runtime = runtime
        self._learned = learned
        self._places = [_Place(bucket, f"{folder}/") for folder in folders]
        self._read: LRUCache[str, bool] = LRUCache(_REMEMBERED)

    async def look(self) -> int:
        """List and read once; how many jobs were learned from.

        Raises:
            Unavailable: the bucket refuses or does not answer.
        """
        found = [one for place in self._places async for one in place.walk()]
        new = {one.key: one for one in found if is_manifest(one.key) and one.key not in self._read}
        latest = sorted(new.values(), key=_written)[-_MANIFESTS:]
        return sum([await self._learn(one.key) for one in latest])

    async def _learn(self, key: str) -> bool:
        self._read[key] = True
        try:
            result = Result.model_validate_json(await self._bucket.read(key, limit=_LARGEST))
        except (ObjectNotFound, Rejected, ValidationError) as error:
            log.debug("manifest says nothing", key=key, reason=type(error).__name__)
            return False
        mine = result.runtime == self._runtime and result.status == "completed"
        if not mine or not 0 < result.timings.run < _LONGEST:
            return False
        self._learned.learn(str(result.metadata.get("tasktype", "")), result.timings.run)
        return True


class _Place:
    """A folder, and how far it was listed."""

    def __init__(self, bucket: Bucket, folder: str) -> None:
        self._bucket = bucket
        self._folder = folder
        self._last = ""
        self._cursor = ""

    async def walk(self) -> AsyncIterator[ListedObject]:
        """A page after all that is known, and some pages more, from the beginning at the end."""
        if self._last:
            for one in await self._page(self._last):
                yield one
        for _ in range(_PAGES):
            page = await self._page(self._cursor)
            self._cursor = page[-1].key if page else ""
            for one in page:
                yield one
            if not page:
                break

    async def _page(self, after: str) -> Sequence[ListedObject]:
        page = await self._bucket.listing(self._folder, after=after)
        if page:
            self._last = max(self._last, page[-1].key)
        return page


def _written(one: ListedObject) -> tuple[float, str]:
    return one.modified or 0.0, one.key
