"""Requests a minute, per key and gateway."""

import math
import time
from collections.abc import Callable
from typing import Final

from cachetools import LRUCache

from queue_agent.gateway.keys import Caller
from queue_agent.wire.problems import Problem

_CALLERS_REMEMBERED: Final = 10_000


class RateLimit:
    """A bucket of tokens per caller: a minute's worth at once, then as they drip in."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tokens: LRUCache[str, tuple[float, float]] = LRUCache(_CALLERS_REMEMBERED)

    def count(self, caller: Caller) -> None:
        """Count one request.

        Raises:
            Problem: 429, there were too many of late.
        """
        if not caller.rate:
            return
        now = self._clock()
        left, since = self._tokens.get(caller.name, (float(caller.rate), now))
        left = min(float(caller.rate), left + (now - since) * caller.rate / 60)
        enough = left >= 1
        self._tokens[caller.name] = (left - 1 if enough else left, now)
        if not enough:
            pause = math.ceil((1 - left) * 60 / caller.rate)
            raise Problem(
                429,
                "too_many_requests",
                f"More than {caller.rate} requests a minute.",
                headers={"Retry-After": str(max(1, pause))},
            )
