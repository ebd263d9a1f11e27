"""Whether anybody takes jobs for a runtime: what no filter lets through, a topic drops."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from queue_agent.cloud import Bucket, Routing, Topic
from queue_agent.wire.errors import QueueAgentError, Rejected
from queue_agent.wire.layout import OFFERS, is_offer, offer_key, runtime_of_offer
from queue_agent.wire.submission import UNKNOWN_RUNTIME

# The standard library's: where a program sets up no logs it writes to stderr.
log = logging.getLogger(__name__)

_AGE: Final = 300.0
"""Seconds that what was found holds."""
_PATIENCE: Final = 5.0
"""Seconds that looking may hold up a publication."""
_MOST_KEYS: Final = 200
_SHOWN: Final = 20
"""Runtimes that are named."""


class Routes:
    """Looks at the topic's subscriptions, and where they do not tell into the bucket.

    What may not be looked at is passed over: publishing needs no right to look.
    """

    def __init__(
        self,
        topic: Callable[[], Topic],
        bucket: Callable[[], Bucket | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._bucket = bucket
        self._clock = clock
        self._settled: dict[str | None, float] = {}

    async def check(self, runtime: str | None) -> None:
        """Warn where nobody is likely to take jobs for the runtime (None: jobs that name none).

        Raises:
            Rejected: the topic's queues are for others, by their filters.
        """
        if self._clock() < self._settled.get(runtime, float("-inf")):
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                doubt = await self._doubt(runtime)
        except (QueueAgentError, TimeoutError) as error:
            if isinstance(error, Rejected):
                raise
            log.debug("runtime %r not looked up: %s", runtime, error)
            doubt = None
        self._settled[runtime] = self._clock() + _AGE
        if doubt is not None:
            log.warning(doubt)

    async def _doubt(self, runtime: str | None) -> str | None:
        try:
            routing = await self._topic().routing("runtime")
        except QueueAgentError as error:
            log.debug("subscriptions not seen: %s", error.message)
            routing = None
        if routing is not None:
            if routing.without if runtime is None else runtime in routing.values:
                return None
            if not routing.others:
                if routing == Routing():
                    return "No queue is subscribed to the job topic: nobody gets the job."
                raise Rejected(_nobody(runtime, routing.values), type=UNKNOWN_RUNTIME)
        return None if runtime is None else await self._untold(runtime)

    async def _untold(self, runtime: str) -> str | None:
        """What it means that no agent has told of the runtime; None: one has, or none of any."""
        bucket = self._bucket()
        if bucket is None or await bucket.exists(offer_key(runtime)):
            return None
        keys = await bucket.keys(OFFERS, limit=_MOST_KEYS)
        told = [runtime_of_offer(key) for key in filter(is_offer, keys)]
        if not told:
            return None
        return (
            f"No agent has told of a runtime {runtime!r} yet, but of: {_names(told)}. "
            "If the name is wrong, nobody gets the job."
        )


def _nobody(runtime: str | None, known: frozenset[str]) -> str:
    names = _names(sorted(known)) or "jobs that name none"
    if runtime is None:
        return f"metadata.runtime: is needed; the topic has queues for: {names}"
    return f"metadata.runtime: the topic has no queue for {runtime!r}, but for: {names}"


def _names(known: list[str]) -> str:
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return ", ".join(known[:_SHOWN]) + more
