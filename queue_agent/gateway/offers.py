"""What runtimes offer beside their task types, as their agents say in the bucket."""

import asyncio
import time
from collections import defaultdict
from typing import Final

import structlog
from pydantic import ValidationError

from queue_agent.cloud import Bucket
from queue_agent.wire.errors import ObjectNotFound, QueueAgentError
from queue_agent.wire.layout import offer_key
from queue_agent.wire.offer import NamedWorkflow, Offer

log = structlog.get_logger()

_AGE: Final = 30.0
_LARGEST: Final = 2**20


class Offers:
    """Reads them at most every half minute."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._known: dict[str, tuple[float, tuple[NamedWorkflow, ...]]] = {}
        self._asking: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def workflows(self, runtime: str) -> tuple[NamedWorkflow, ...]:
        """Those that jobs ask for by name; none, or what was known before, if it cannot be read."""
        async with self._asking[runtime]:
            asked, known = self._known.get(runtime, (float("-inf"), ()))
            if time.monotonic() - asked < _AGE:
                return known
            try:
                data = await self._bucket.read(offer_key(runtime), limit=_LARGEST)
                known = Offer.model_validate_json(data).workflows
            except ObjectNotFound:
                known = ()
            except (QueueAgentError, ValidationError) as error:
                log.info("offer unknown", runtime=runtime, reason=type(error).__name__)
            self._known[runtime] = (time.monotonic(), known)
            return known
