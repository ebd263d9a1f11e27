"""What the bucket tells of jobs before and after their end, by their prefix."""

import heapq
from collections.abc import AsyncIterator
from enum import StrEnum

from queue_agent.client.results import ResultLocation, read_result
from queue_agent.cloud import Bucket, ListedObject
from queue_agent.wire.layout import cancel_marker, is_manifest, is_of_work_under_way
from queue_agent.wire.result import Result


class Trace(StrEnum):
    """What is seen of a job that has no result."""

    UNDER_WAY = "under way"
    """An agent works on it; seen of long jobs, and of those that ask for previews."""
    CANCELLED = "cancelled"
    """Somebody has asked to give it up."""
    NONE = "none"
    """Nothing: it waits, or has just begun, or nobody submitted it with this id and prefix."""


async def trace_of(bucket: Bucket, place: ResultLocation) -> Trace:
    """What the bucket holds of a job."""
    marker = cancel_marker(place.id)
    if marker in await bucket.keys(marker, limit=1):
        return Trace.CANCELLED
    keys = await bucket.keys(f"{place.folder}/{place.id}-")
    return Trace.UNDER_WAY if any(map(is_of_work_under_way, keys)) else Trace.NONE


async def latest_results(bucket: Bucket, prefix: str, limit: int) -> AsyncIterator[Result]:
    """The latest results whose folders lie below the prefix, the newest first.

    All keys below it are listed for that, and `limit` objects are read.
    """
    found: list[ListedObject] = []
    last = ""
    while page := await bucket.listing(f"{prefix}/", after=last):
        last = page[-1].key
        manifests = (listed for listed in page if is_manifest(listed.key))
        found = heapq.nlargest(limit, [*found, *manifests], key=_age)
    for listed in found:
        if (result := await read_result(bucket, listed.key)) is not None:
            yield result


def _age(listed: ListedObject) -> tuple[float, str]:
    return listed.modified or 0.0, listed.key
