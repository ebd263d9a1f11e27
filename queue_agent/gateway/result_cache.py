"""What the bucket says of jobs, asked no oftener than needed however many want to know."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from queue_agent.client.results import find_result
from queue_agent.cloud import Bucket
from queue_agent.gateway.records import Record
from queue_agent.wire.result import Result, cancel_marker

_JOBS_REMEMBERED: Final = 5_000


@dataclass(frozen=True)
class Fact:
    """What was found of one job."""

    result: Result | None = None
    cancelled: bool = False
    at: float = float("-inf")


class Facts:
    """Remembers final results for good, and everything else for `age` seconds."""

    def __init__(
        self, bucket: Bucket, *, age: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bucket = bucket
        self._age = age
        self._clock = clock
        self._found: OrderedDict[str, Fact] = OrderedDict()
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def of(self, record: Record, *, not_before: float = float("-inf")) -> Fact:
        """What is known of the job; asked anew if that was found before `not_before`."""
        lock = self._asking.setdefault(record.id, asyncio.Lock())
        async with lock:
            fact = self._found.get(record.id, Fact())
            if fact.result is not None and fact.result.is_final:
                return fact
            if fact.at >= not_before and self._clock() - fact.at < self._age:
                return fact
            asked = self._clock()
            result = await find_result(self._bucket, record.place)
            cancelled = fact.cancelled or (
                result is None and await self._bucket.exists(cancel_marker(record.id))
            )
            return self._remember(record.id, Fact(result, cancelled, asked))

    def cancel(self, record: Record) -> None:
        """The job's cancel marker was written."""
        fact = self._found.get(record.id, Fact())
        self._remember(record.id, Fact(fact.result, True, fact.at))

    def forget(self, job_id: str) -> None:
        """The job begins anew."""
        self._found.pop(job_id, None)

    def _remember(self, job_id: str, fact: Fact) -> Fact:
        self._found[job_id] = fact
        self._found.move_to_end(job_id)
        while len(self._found) > _JOBS_REMEMBERED:
            self._found.popitem(last=False)
        return fact
