"""What an agent knows of its runtime: by asking it, and by how its runs ended."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from queue_agent.runtime import Readiness, Runtime, RuntimeState
from queue_agent.telemetry.outages import Outages
from queue_agent.wire.errors import (
    QueueAgentError,
    RunLost,
    RuntimeAway,
    RuntimeSick,
    RuntimeStuck,
)
from queue_agent.worker.warm_up import WARMING_UP, WarmUp

log = structlog.get_logger()

_POLL: Final = 1.0
"""Seconds between two questions to a runtime that is not ready, and for which a yes holds."""
_TO_RESTART: Final[Mapping[RuntimeState, float]] = {"sick": 0.0, "stuck": 30.0, "away": 60.0}
"""Seconds after which a runtime of such a state should be started anew."""
_REMEDIES: Final[Mapping[RuntimeState, str]] = {
    "away": "Is it started, and does QUEUE_AGENT_RUNTIME_URL lead to it?",
    "starting": "It goes on by itself once it is loaded.",
    "misconfigured": "Look at QUEUE_AGENT_RUNTIME_URL, QUEUE_AGENT_RUNTIME_HEADERS and "
    "QUEUE_AGENT_RUNTIME_CA_FILE, and at what stands before the runtime.",
    "stuck": "It must be started anew; a liveness probe that asks /runtimez does that.",
    "sick": "It must be started anew; a liveness probe that asks /runtimez does that.",
}
_ANEW: Final = frozenset({"away", "starting"})
"""States of a runtime that is not the one any more that it was before."""


@dataclass
class RuntimeHealth:
    """One runtime's, for all who must know it."""

    runtime: Runtime
    clock: Callable[[], float] = time.monotonic
    warm_up: WarmUp | None = None
    away_at: float = field(default=float("-inf"), init=False)
    """When the runtime was seen to be away the last time: what it had then, it has no more."""
    broken: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    """Set while the runtime is known to be stuck or sick, whatever it says of itself."""
    started: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    """Set when the runtime is ready for the first time, or after it was or may have been away."""
    _is_new: bool = field(default=True, init=False)
    """Whether `started` is to be set when it is ready."""
    _mark: Readiness | None = field(default=None, init=False)
    """What a run has shown that the runtime does not say of itself."""
    _confirmed: bool = field(default=False, init=False)
    """Whether the runtime has said so since, so that it also says when it is over."""
    _goes_on: Readiness | None = field(default=None, init=False)
    """What was seen of a run that was given up."""
    _ready_at: float = field(default=float("-inf"), init=False)
    _state: RuntimeState = field(default="away", init=False)
    _since: float = field(default=float("inf"), init=False)
    """Since when the runtime is of that state."""
    _outages: Outages = field(init=False)

    def __post_init__(self) -> None:
        self._outages = Outages(self.clock)

    async def check(self) -> Readiness:
        """Ask the runtime. One that has been away is another: what was known of it is forgotten."""
        told = Readiness.of(await self.runtime.ready())
        if told.state in _ANEW:
            self._may_be_another()
            self.away_at = self.clock()
        if told.state in _ANEW or (self._confirmed and told):
            self._set_mark(None)
        elif told.state in {"stuck", "sick"}:
            self._confirmed = self._mark is not None
        known = told if self.trouble is None else self.trouble
        if known and self._is_new:
            self._is_new = False
            self.started.set()
        if known and self.warm_up is not None and self.warm_up.due:
            known = WARMING_UP
        if known.state != self._state or self._since == float("inf"):
            self._state, self._since = known.state, self.clock()
        return known

    @property
    def trouble(self) -> Readiness | None:
        """What is known of a runtime that is stuck or sick, without asking it."""
        return self._goes_on if self._mark is None else self._mark

    def error(self) -> RuntimeSick | RuntimeStuck | None:
        """Why no job can be worked on; None of a runtime that is not known to be broken."""
        if (trouble := self.trouble) is None:
            return None
        kind = RuntimeSick if trouble.state == "sick" else RuntimeStuck
        return kind(trouble.reason)

    async def to_restart(self) -> tuple[bool, Readiness]:
        """Whether the runtime should be started anew by whoever can, and its state.

        Sick at once; stuck, or silent though it was started, when it has been so for a while.
        """
        readiness = await self.check()
        patience = _TO_RESTART.get(readiness.state, float("inf"))
        return self.clock() >= self._since + patience, readiness

    async def until_ready(self) -> None:
        """Wait until the runtime is ready; a yes holds for a second, unless a run failed since."""
        if self.clock() < self._ready_at + _POLL:
            return
        while not (readiness := await self.check()):
            self._say_why_not(readiness)
            if readiness is WARMING_UP and await self._warmed_up():
                continue
            await asyncio.sleep(_POLL)
        over = self._outages.works()
        if over is not None or self._ready_at == float("-inf"):
            log.info("runtime ready", seconds=over.seconds if over else 0.0)
        self._ready_at = self.clock()

    def _say_why_not(self, readiness: Readiness) -> None:
        if due := self._outages.failed(readiness.state, words=readiness.reason):
            log.warning(
                "waiting for the runtime",
                state=readiness.state,
                reason=readiness.reason,
                remedy=_REMEDIES.get(readiness.state, ""),
                **due._asdict(),
            )

    async def _warmed_up(self) -> bool:
        """Whether that is over, one way or the other."""
        if self.warm_up is None:
            return True
        if (error := await self.warm_up.run()) is not None:
            self.failed(error)
        return not self.warm_up.due

    def worked(self) -> None:
        """A run has ended well."""
        if self.warm_up is not None:
            self.warm_up.worked()

    def _may_be_another(self) -> None:
        """The runtime was away, or may have been."""
        self._is_new = True
        if self.warm_up is not None:
            self.warm_up.started()
            self._doubt()

    def failed(self, error: QueueAgentError) -> None:
        """A run ended so: what it says of the runtime."""
        if isinstance(error, RuntimeSick | RuntimeStuck):
            sick = isinstance(error, RuntimeSick)
            self._set_mark(Readiness("sick" if sick else "stuck", error.message))
        elif isinstance(error, RuntimeAway | RunLost):
            self._may_be_another()
        else:
            return
        self._doubt()

    def found_stuck(self, reason: str) -> None:
        """A run that was given up goes on, and shows that the runtime is stuck."""
        if self._goes_on is None:
            log.warning("the runtime is stuck", reason=reason)
            self._goes_on = Readiness("stuck", reason)
            self.broken.set()
            self._doubt()

    def relieved(self) -> None:
        """No run that was given up goes on for too long."""
        self._goes_on = None
        self._note_trouble()

    def _set_mark(self, mark: Readiness | None) -> None:
        self._mark, self._confirmed = mark, False
        self._note_trouble()

    def _note_trouble(self) -> None:
        if self.trouble is None:
            self.broken.clear()
        else:
            self.broken.set()

    def _doubt(self) -> None:
        """The last yes holds no more."""
        self._ready_at = min(self._ready_at, self.clock() - _POLL)


def missing(readiness: Readiness) -> str | None:
    """What a probe is told: None of a runtime that is ready, else why it is not."""
    return None if readiness else f"{readiness.state}: {readiness.reason}".removesuffix(": ")
