"""What runtimes offer, as their agents say in the bucket."""

import asyncio
import time
from collections import defaultdict
from typing import Final

import structlog
from pydantic import ValidationError

from queue_agent.cloud import Bucket
from queue_agent.telemetry.outages import Outages
from queue_agent.wire.errors import ObjectNotFound, QueueAgentError
from queue_agent.wire.layout import offer_key
from queue_agent.wire.offer import LARGEST, Offer

log = structlog.get_logger()

_AGE: Final = 30.0
_AGE_OF_NOTHING: Final = 2.0
"""Of what no agent has told yet, which the next start of one brings."""


class Offers:
    """Reads them at most every half minute, and more often until there are some."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._outages = Outages()
        self._known: dict[str, tuple[float, Offer]] = {}
        self._asking: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def of(self, runtime: str) -> Offer:
        """An empty one, or what was known before, if it cannot be read."""
        async with self._asking[runtime]:
            asked, known = self._known.get(runtime, (float("-inf"), Offer(runtime=runtime)))
            age = _AGE if known.adapter is not None else _AGE_OF_NOTHING
            if time.monotonic() - asked < age:
                return known
            try:
                data = await self._bucket.read(offer_key(runtime), limit=LARGEST)
                known = Offer.model_validate_json(data)
            except ObjectNotFound:
                known = Offer(runtime=runtime)
            except (QueueAgentError, ValidationError) as error:
                if due := self._outages.failed(type(error).__name__, runtime):
                    reason = type(error).__name__
                    log.info("offer unknown", runtime=runtime, reason=reason, **due._asdict())
            else:
                self._outages.works(runtime)
            self._known[runtime] = (time.monotonic(), known)
            return known

    def forget(self, runtime: str) -> None:
        """Read it anew when it is next asked for; if it cannot be, what was known still holds."""
        if runtime in self._known:
            self._known[runtime] = (float("-inf"), self._known[runtime][1])
