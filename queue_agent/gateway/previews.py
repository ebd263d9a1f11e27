"""Images of jobs under way, read no oftener than needed however many look at them."""

import asyncio
import time
from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

from cachetools import TTLCache

from queue_agent.cloud import Bucket
from queue_agent.gateway.records import Record
from queue_agent.media.facts import UnreadableImage, facts_of
from queue_agent.media.previews import LARGEST_PREVIEW, PREVIEW_MEDIA_TYPE
from queue_agent.wire.errors import ObjectNotFound, Rejected
from queue_agent.wire.layout import ResultKeys

_AGE: Final = 1.0
_REMEMBERED: Final = 256
"""Jobs; together they have 16 MiB of previews at most."""


class PreviewCache:
    """Asks for a job's once a second at most, and whenever another is heard of."""

    def __init__(self, bucket: Bucket, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._bucket = bucket
        self._known: TTLCache[str, tuple[int, bytes | None]]
        self._known = TTLCache(_REMEMBERED, _AGE, timer=clock)
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def of(self, record: Record, number: int) -> bytes | None:
        """The job's latest, `number` being that of the last that was heard of.

        None where there is none that browsers may be shown.
        """
        key = ResultKeys(record.folder, record.id, record.digest).preview
        lock = self._asking.setdefault(key, asyncio.Lock())
        async with lock:
            known, image = self._known.get(key, (-1, None))
            if known != number:
                image = await self._read(key)
                self._known[key] = number, image
            return image

    async def _read(self, key: str) -> bytes | None:
        try:
            data = await self._bucket.read(key, limit=LARGEST_PREVIEW)
        except (ObjectNotFound, Rejected):
            return None
        try:
            facts = facts_of(data)
        except UnreadableImage:
            return None
        return data if facts.media_type == PREVIEW_MEDIA_TYPE and facts.width else None
