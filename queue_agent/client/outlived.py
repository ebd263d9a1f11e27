"""Objects of a bucket whose jobs' messages no queue can hold any more."""

from collections.abc import AsyncIterator
from typing import Final

from queue_agent.cloud import Bucket
from queue_agent.cloud.queue_times import DAY, LONGEST_KEPT
from queue_agent.wire.layout import AS_LONG_AS_MESSAGES

_AGE: Final = LONGEST_KEPT * DAY


async def outlived(bucket: Bucket, *, now: float) -> AsyncIterator[str]:
    """The keys of those, as of `now`, seconds since the epoch; what has no time is left out."""
    for folder in AS_LONG_AS_MESSAGES:
        prefix, last = f"{folder}/", ""
        while page := await bucket.listing(prefix, after=last):
            last = page[-1].key
            for entry in page:
                if entry.modified is not None and entry.modified + _AGE < now:
                    yield entry.key
