"""What operators have paused, as it is told to people, and jobs of tenants that are refused."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog

from queue_agent.cloud import Bucket
from queue_agent.cloud.pauses import PausesMarker
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.job import Job
from queue_agent.wire.pause import Pause, Pauses
from queue_agent.wire.problems import Problem

log = structlog.get_logger()

_AGE: Final = 5.0
_PATIENCE: Final = 2.0
"""Seconds that looking may hold up a job."""
_LONGEST_RETRY: Final = 3600


@dataclass
class KnownPauses:
    """Of each runtime, as of five seconds ago at most; what cannot be seen is as it was."""

    bucket: Bucket
    now: Callable[[], float]
    """Seconds since the epoch, by the cloud's clock."""
    _markers: dict[str, tuple[float, PausesMarker]] = field(default_factory=dict, init=False)
    _asking: dict[str, asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock), init=False
    )

    async def told(self, runtime: str) -> list[str]:
        """What everybody may know of: the runtime as a whole, and models of it."""
        known = await self._known(runtime)
        return [str(pause) for pause in known.on(self.now()) if pause.tenant is None]

    async def admit(self, job: Job) -> None:
        """Refuse a job whose tenant is paused: it would only wait in the queue, and grow old.

        Raises:
            Problem: 503, with how long it is thought to be.
        """
        tenant, runtime = job.metadata.tenant, job.metadata.runtime or ""
        if tenant is None:
            return
        known, now = await self._known(runtime), self.now()
        if (pause := _longest(known.on(now), tenant, now)) is None:
            return
        left = (pause.ends(now) or now) - now
        why = f": {pause.reason}" if pause.reason else "."
        raise Problem(
            503,
            "tenant_paused",
            f"The operator has paused the jobs of {tenant} at {runtime}{why}",
            headers={"Retry-After": str(max(1, int(min(left, _LONGEST_RETRY))))},
        )

    async def _known(self, runtime: str) -> Pauses:
        async with self._asking[runtime]:
            asked, marker = self._markers.get(
                runtime, (float("-inf"), PausesMarker(self.bucket, runtime))
            )
            if time.monotonic() - asked >= _AGE:
                try:
                    async with asyncio.timeout(_PATIENCE):
                        await marker.look()
                except (QueueAgentError, TimeoutError) as error:
                    log.debug("pauses are not seen", runtime=runtime, reason=type(error).__name__)
                self._markers[runtime] = time.monotonic(), marker
            return marker.pauses


def _longest(on: Iterable[Pause], tenant: str, now: float) -> Pause | None:
    """Of those of all of the tenant's jobs."""
    ends = [(it.ends(now) or now, it) for it in on if it.tenant == tenant and it.model is None]
    return max(ends, key=lambda one: one[0])[1] if ends else None
