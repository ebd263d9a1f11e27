"""Telling, in the bucket, which models are loaded here, and how many agents do the same.

Where nothing can be written or read, that is logged, and jobs are done all the same.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import structlog

from queue_agent.cloud import Bucket
from queue_agent.telemetry.outages import Outages
from queue_agent.wire.agent_state import FRESH, TOLD_EVERY, AgentState
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.layout import agent_key, agents_folder
from queue_agent.worker.scheduler import JobScheduler
from queue_agent.worker.surprises import no_surprises

log = structlog.get_logger()

_LOOK: Final = 15.0
"""Seconds between two looks at what has changed here."""
_COUNT: Final = 60.0
"""Seconds between two counts of the others."""
_LEFT_BEHIND: Final = 3600.0
"""Seconds after which what an agent has said is removed, since it was killed."""
_FAREWELL: Final = 2.0
"""Seconds that it may take to remove one's own."""


@dataclass
class Presence:
    """Of one agent among those of its runtime's name."""

    bucket: Bucket
    runtime: str
    agent: str
    scheduler: JobScheduler
    now: Callable[[], float] = time.time
    _others: int = field(default=0, init=False)
    _told: tuple[frozenset[str], frozenset[str]] | None = field(default=None, init=False)
    _told_at: float = field(default=float("-inf"), init=False)
    _counted_at: float = field(default=float("-inf"), init=False)
    _outages: Outages = field(default_factory=Outages, init=False)

    def others(self) -> int:
        """How many other agents were there lately."""
        return self._others

    async def keep(self) -> None:
        """Tell what changes, until cancelled; then it is told no more."""
        try:
            while True:
                try:
                    with no_surprises():
                        await self._tell()
                        await self._count()
                except QueueAgentError as error:
                    if due := self._outages.failed(error.type):
                        log.warning(
                            "loaded models are not told", reason=error.message, **due._asdict()
                        )
                else:
                    self._outages.works()
                await asyncio.sleep(_LOOK)
        finally:
            if self._told is not None:
                await asyncio.shield(self._leave())

    @property
    def _matters(self) -> bool:
        return self.scheduler.looks_ahead or bool(self.scheduler.loaded.uses)

    async def _tell(self) -> None:
        loaded = self.scheduler.loaded
        known = (loaded.models, loaded.loras)
        now = self.now()
        if not self._matters or (known == self._told and now < self._told_at + TOLD_EVERY):
            return
        state = AgentState(
            runtime=self.runtime,
            agent=self.agent,
            at=datetime.fromtimestamp(now, UTC),
            models=tuple(sorted(filter(None, loaded.models))),
            loras=tuple(sorted(loaded.loras)),
            switch_seconds=self.scheduler.costs.known.model,
        )
        data = state.model_dump_json(exclude_none=True).encode()
        await self.bucket.write(self._key, data, media_type="application/json")
        self._told, self._told_at = known, now

    async def _count(self) -> None:
        """Count the others, and remove what is left of those that were killed."""
        now = self.now()
        if not self.scheduler.looks_ahead or now < self._counted_at + _COUNT:
            return
        ages = {
            listed.key: 0.0 if listed.modified is None else now - listed.modified
            for listed in await self.bucket.listing(agents_folder(self.runtime))
        }
        self._others = sum(age <= FRESH for key, age in ages.items() if key != self._key)
        self._counted_at = now
        for key in [key for key, age in ages.items() if age > _LEFT_BEHIND]:
            await self.bucket.delete(key)

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(_FAREWELL):
                await self.bucket.delete(self._key)
        except (TimeoutError, QueueAgentError) as error:
            log.debug("what was told of loaded models stays", reason=str(error))

    @property
    def _key(self) -> str:
        return agent_key(self.runtime, self.agent)
