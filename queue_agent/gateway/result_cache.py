"""What the bucket says of jobs, asked no oftener than needed however many want to know."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from cachetools import LRUCache

from queue_agent.client.results import find_result
from queue_agent.cloud import Bucket
from queue_agent.gateway.records import Record
from queue_agent.wire.layout import cancel_marker
from queue_agent.wire.result import Result

_JOBS_REMEMBERED: Final = 5_000


@dataclass(frozen=True)
class CachedResult:
    """What was found of one job."""

    result: Result | None = None
    cancelled: bool = False
    at: float = float("-inf")


class ResultCache:
    """Remembers final results for good, and everything else for `age` seconds."""

    def __init__(
        self, bucket: Bucket, *, age: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bucket = bucket
        self._age = age
        self._clock = clock
        self._found: LRUCache[str, CachedResult] = LRUCache(_JOBS_REMEMBERED)
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def of(self, record: Record, *, not_before: float = float("-inf")) -> CachedResult:
        """What is known of the job; asked anew if that was found before `not_before`."""
        lock = self._asking.setdefault(record.id, asyncio.Lock())
        async with lock:
            cached = self._found.get(record.id, CachedResult())
            if cached.result is not None and cached.result.is_final:
                return cached
            if cached.at >= not_before and self._clock() - cached.at < self._age:
                return cached
            asked = self._clock()
            result = await find_result(self._bucket, record.place)
            cancelled = cached.cancelled or (
                result is None and await self._bucket.exists(cancel_marker(record.id))
            )
            return self._remember(record.id, CachedResult(result, cancelled, asked))

    def cancel(self, record: Record) -> None:
        """The job's cancel marker was written."""
        cached = self._found.get(record.id, CachedResult())
        self._remember(record.id, CachedResult(cached.result, True, cached.at))

    def forget(self, job_id: str) -> None:
        """The job begins anew."""
        self._found.pop(job_id, None)

    def _remember(self, job_id: str, cached: CachedResult) -> CachedResult:
        self._found[job_id] = cached
        return cached
