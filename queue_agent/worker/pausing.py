"""What operators have paused: looked for every few seconds, for all who must know it."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from queue_agent.cloud.pauses import PausesMarker
from queue_agent.runtime.model_use import ModelUse
from queue_agent.telemetry.metrics import Metrics
from queue_agent.telemetry.outages import Outages
from queue_agent.wire.errors import QueueAgentError, Unavailable
from queue_agent.wire.job import Job
from queue_agent.wire.pause import Pause, Pauses
from queue_agent.wire.work import model_named
from queue_agent.worker.delivery import Delivery
from queue_agent.worker.surprises import no_surprises

log = structlog.get_logger()

_PATIENCE: Final = 5.0
"""Seconds that a look may take; what was known is known still."""
_FORBIDDEN: Final = "cloud_unauthorized"
_FORBIDDEN_POLL: Final = 60.0
_LONGEST: Final = 300.0
"""Seconds for which a job is put off at a time; so long after the end of its pause it may wait."""


class PutOff(QueueAgentError):
    """The job's message comes again later, since it is paused; nothing is left to do with it."""

    default_type = "paused"


async def _wanted(_: Job) -> None:
    """Nobody can say."""


@dataclass
class Pausing:
    """Of one runtime. What cannot be looked at is as it was; at first, nothing is paused."""

    marker: PausesMarker
    poll: float
    """Seconds between two looks, about; 0: nobody looks, and nothing is ever paused."""
    now: Callable[[], float]
    """Seconds since the epoch, by the cloud's clock."""
    spread: Callable[[float, float], float]
    """A random number between two, so that agents do not look together."""
    woken: Callable[[], None]
    """Called whenever something else is paused than before."""
    metrics: Metrics = field(default_factory=Metrics)
    check: Callable[[Job], Awaitable[None]] = _wanted
    """Raises `Unwanted` where nobody wants a job any more."""
    known: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    """Set once it was looked, or tried."""
    resumed: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    """Set while the runtime as a whole is not paused."""
    changed: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    """Set then, too; whoever waits for the next change clears it first."""
    on: tuple[Pause, ...] = field(default=(), init=False)
    """What is paused."""
    _outages: Outages = field(default_factory=Outages, init=False)

    def __post_init__(self) -> None:
        self.resumed.set()
        if not self.poll:
            self.known.set()

    async def watch(self) -> None:
        """Look until cancelled."""
        while self.poll:
            pause = await self._look()
            self._note(self.marker.pauses)
            self.known.set()
            await asyncio.sleep(pause * self.spread(0.8, 1.2))

    @property
    def _pauses(self) -> Pauses:
        return self.marker.pauses

    @property
    def whole(self) -> Pause | None:
        """Why no messages are asked for; None: they are."""
        return self._pauses.whole(self.now())

    def of(self, delivery: Delivery) -> Pause | None:
        """Why the job is not worked on now; None: it is, as far as anybody knows."""
        tenants, models = _tenants_of(delivery), _models_of(delivery)

        def needs(name: str) -> bool:
            return not models.isdisjoint(ModelUse.named([name]).models)

        return self._pauses.concerning(self.now(), tenants, needs)

    def seconds(self, pause: Pause) -> float:
        """For how long what it concerns is put off."""
        if pause.is_whole:  # nobody asks for messages, once all have seen it
            return 2 * self.poll
        left = (pause.ends(self.now()) or 0.0) - self.now()
        return max(self.poll, min(left, _LONGEST * self.spread(0.8, 1.0)))

    async def admit(self, delivery: Delivery) -> None:
        """Put a job off that is paused for its tenant or its model.

        Raises:
            PutOff: its message comes again.
            Unwanted: it was cancelled, and is answered instead.
            Unavailable: it is paused, and its message would not come again.
        """
        pause = self.of(delivery)
        if pause is None or pause.is_whole:  # what was received before its begin is given back
            return
        left = _left(delivery, self.now())
        if left <= 0:  # it is answered instead
            return
        await self.check(delivery.job)
        seconds = min(self.seconds(pause), max(left, self.poll))
        delivery.slot.needs_no_runtime()
        if await delivery.lease.put_off(seconds):
            raise PutOff(f"Paused: {pause}.")
        raise Unavailable(f"Paused: {pause}.", type=PutOff.default_type)

    async def _look(self) -> float:
        """Look; seconds until the next time."""
        try:
            async with asyncio.timeout(_PATIENCE):
                with no_surprises():
                    await self.marker.look()
        except TimeoutError:
            self._failed("unanswered", f"No answer within {_PATIENCE:g} s.")
        except QueueAgentError as error:
            self._failed(error.type, error.message)
            if error.type == _FORBIDDEN:
                return max(self.poll, _FORBIDDEN_POLL)
        else:
            if over := self._outages.works():
                log.info("pauses are seen", **over._asdict())
        return self.poll

    def _failed(self, kind: str, reason: str) -> None:
        if due := self._outages.failed(kind, words=reason):
            remedy = "Let the agent's role read pauses/* in the bucket." * (kind == _FORBIDDEN)
            log.warning("pauses are not seen", reason=reason, remedy=remedy, **due._asdict())

    def _note(self, pauses: Pauses) -> None:
        on = pauses.on(self.now())
        if on == self.on:
            return
        for pause in [pause for pause in on if pause not in self.on]:
            log.warning("paused", pause=str(pause))
        for pause in [pause for pause in self.on if pause not in on]:
            log.warning("resumed", pause=str(pause))
        self.on = on
        whole = any(pause.is_whole for pause in on)
        self.metrics.is_paused(paused=whole)
        if whole:
            self.resumed.clear()
        else:
            self.resumed.set()
        self.changed.set()
        self.woken()


def _left(delivery: Delivery, now: float) -> float:
    """Seconds for which anybody wants the job."""
    expires = delivery.job.metadata.expires_at
    return math.inf if expires is None else expires.timestamp() - now


def _tenants_of(delivery: Delivery) -> set[str]:
    named = delivery.job.metadata.tenant if delivery.is_parsed else None
    return {tenant for tenant in (delivery.message.tenant, named) if tenant}


def _models_of(delivery: Delivery) -> frozenset[str]:
    """As the job names it; once it is prepared, all that it needs."""
    use, named = delivery.slot.use, model_named(delivery.job) if delivery.is_parsed else None
    return use.models | use.loras | ModelUse.named([named] if named else ()).models
