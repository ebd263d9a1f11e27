"""Cancel markers, looked for by all jobs of the process together.

One listing of their folder serves every job that asks soon after. Where a listing cannot tell
(it is forbidden, it fails, there are too many markers), each job asks for its own marker.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from queue_agent.cloud import Bucket
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.job import JobId
from queue_agent.wire.layout import CANCEL_MARKERS, cancel_marker

log = structlog.get_logger()

_MOST: Final = 200
"""Markers that one listing may tell of: to parse more costs more than to ask for single ones."""
_LISTING_PAUSE: Final = 60.0
"""Seconds until a listing is tried again after one that could not tell."""


@dataclass(frozen=True)
class Look:
    """What was seen of one job's marker."""

    cancelled: bool
    began: float
    """By the monotonic clock; a marker written before was seen."""


@dataclass(frozen=True)
class _Listing:
    began: float
    keys: frozenset[str] | None = None
    """None where it cannot tell of all markers."""


class CancelMarkers:
    """The markers of one bucket; what was seen is told again for `freshness` seconds.

    With 0, each look is a request of its own.
    """

    def __init__(
        self, bucket: Bucket, *, freshness: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._bucket = bucket
        self._now = now
        self._freshness = freshness
        self._listed = float("-inf")
        self._may_list = float("-inf")
        self._listing: asyncio.Task[_Listing] | None = None

    async def look(self, job_id: JobId) -> Look:
        """Whether the job has a marker.

        Raises:
            Unavailable: the bucket cannot be asked.
        """
        key = cancel_marker(job_id)
        listing = await self._recent_listing()
        if listing is not None and listing.keys is not None:
            return Look(key in listing.keys, listing.began)
        began = self._now()
        return Look(await self._bucket.exists(key), began)

    async def _recent_listing(self) -> _Listing | None:
        now = self._now()
        if not self._freshness or now < self._may_list:
            return None
        if self._listing is None or now >= self._listed + self._freshness:
            self._listed = now
            self._listing = asyncio.create_task(self._list(now))
        return await asyncio.shield(self._listing)  # others wait for it too

    async def _list(self, began: float) -> _Listing:
        try:
            keys = await self._bucket.keys(CANCEL_MARKERS, limit=_MOST)
        except Unavailable as error:
            log.debug("cannot list cancel markers", reason=error.message)
        else:
            if len(keys) < _MOST:
                return _Listing(began, frozenset(keys))
            log.info("too many cancel markers to list", most=_MOST)
        self._may_list = self._now() + _LISTING_PAUSE
        return _Listing(began)
