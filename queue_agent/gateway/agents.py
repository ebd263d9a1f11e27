"""Which models are loaded, as agents say in the bucket."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from pydantic import ValidationError

from queue_agent.cloud import Bucket
from queue_agent.gateway.schemas import LoadedModel
from queue_agent.tasks import together
from queue_agent.telemetry.outages import Outages
from queue_agent.wire.agent_state import FRESH, LARGEST_STATE, AgentState
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.layout import agents_folder

log = structlog.get_logger()

_AGE: Final = 15.0
_MOST: Final = 100
"""Agents of a runtime that are read."""


class LoadedModels:
    """Reads them at most every quarter of a minute, when they are asked for."""

    def __init__(self, bucket: Bucket, *, now: Callable[[], float] = time.time) -> None:
        self._bucket = bucket
        self._now = now
        self._outages = Outages()
        self._known: dict[str, tuple[float, tuple[LoadedModel, ...]]] = {}
        self._asking: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def of(self, runtime: str) -> tuple[LoadedModel, ...]:
        """The most frequent first; what was known before, or nothing, if it cannot be read."""
        async with self._asking[runtime]:
            asked, known = self._known.get(runtime, (float("-inf"), ()))
            if time.monotonic() - asked < _AGE:
                return known
            try:
                known = _counted(await self._states(runtime))
            except QueueAgentError as error:
                if due := self._outages.failed(type(error).__name__, runtime):
                    log.info("loaded models unknown", runtime=runtime, **due._asdict())
            else:
                self._outages.works(runtime)
            self._known[runtime] = (time.monotonic(), known)
            return known

    async def _states(self, runtime: str) -> Sequence[AgentState]:
        """Of those agents that are at work."""
        keys = await self._bucket.keys(agents_folder(runtime), limit=_MOST)
        states = await together(self._state(key) for key in keys)
        since = self._now() - FRESH
        return [state for state in states if state is not None and state.at.timestamp() >= since]

    async def _state(self, key: str) -> AgentState | None:
        """None of one that cannot be read, or is gone."""
        try:
            return AgentState.model_validate_json(await self._bucket.read(key, limit=LARGEST_STATE))
        except (QueueAgentError, ValidationError):
            return None


def _counted(states: Sequence[AgentState]) -> tuple[LoadedModel, ...]:
    agents = Counter(model for state in states for model in set(state.models))
    return tuple(
        LoadedModel(model=model, agents=count)
        for model, count in sorted(agents.items(), key=lambda entry: (-entry[1], entry[0]))
    )
