"""Where one job stands on its way to the GPU, and since when."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from enum import IntEnum, auto
from typing import Final, Protocol

from queue_agent.runtime.model_use import Lack, ModelUse
from queue_agent.telemetry.tracing import span
from queue_agent.wire.errors import (
    RunLost,
    RuntimeAway,
    RuntimeSick,
    RuntimeStuck,
    Unavailable,
)
from queue_agent.worker.forecast import Kind

_USABLE_PROGRESS: Final = 0.1
"""Below this share of a run its progress predicts too badly."""


class Stage(IntEnum):
    PREPARING = auto()
    WAITING = auto()
    SUBMITTED = auto()
    RUNNING = auto()
    FINISHING = auto()
    ACKNOWLEDGING = auto()
    ELSEWHERE = auto()
    """Another message of the same job is worked on, here or by another agent."""
    FETCHING = auto()
    """The job's models are fetched, which may take long."""


class SlotKeeper(Protocol):
    """Who decides which slot is next, and is told what happens to each."""

    changed: asyncio.Event
    """Set with each change."""
    opened: asyncio.Event
    """Set while jobs may go to the runtime."""

    @property
    def held_on_from(self) -> float:
        """Since when, at the latest, a job waits for the runtime in vain, where it is one of
        several that are held to choose from."""

    def waits(self, slot: "Slot", *, first: bool) -> None:
        """The slot's job is ready for the runtime, for the first time or again."""

    def finishes(self, slot: "Slot") -> None:
        """The slot's job is with the runtime no more, or never was."""

    def moves(self, slot: "Slot", stage: Stage) -> float:
        """The slot goes from where it stands to another stage.

        The runtime's time in seconds that each job has had so far, had it always run.
        """

    def outputs_change(self, more_bytes: int) -> None:
        """A slot holds so many more bytes of outputs, or fewer."""

    def close(self) -> None:
        """The runtime is away."""

    def held_up(self, seconds: float) -> Unavailable:
        """A slot's job has waited so long for the runtime: why."""


class Slot:
    """Where one job stands. Times are by the monotonic clock."""

    def __init__(
        self, slots: SlotKeeper, clock: Callable[[], float], hold_limit: float | None
    ) -> None:
        self.stage = Stage.PREPARING
        self.kind: Kind | None = None
        self.deadline: float | None = None
        """Of its job, seconds since the epoch; None: it has none."""
        self.group: str | None = None
        """What the queue keeps its message in order with."""
        self.tenant: str | None = None
        """Whose its job is."""
        self.use = ModelUse()
        """What its job has the runtime load; empty until that is known."""
        self.lack: Lack = "nothing"
        """What of it was not loaded when the job was submitted."""
        self.may_load = False
        """Whether it was not known what was loaded then, so that its run may be longer for it."""
        self.switch = 0.0
        """Seconds by which its run is expected to be longer for that."""
        self.overtaken = 0
        """How many jobs that were ready later went before it."""
        self.submission = 0
        """Its number among the submitted ones, so that those of one moment keep their order."""
        self.submitted = asyncio.Event()
        self.running = asyncio.Event()
        """Set when the runtime has nothing left to do before this job."""
        self.suspected = False
        """Whether the job may have ended the runtime: it has its turns alone, after the others."""
        self.output_bytes = 0
        """Of outputs that wait to be stored."""
        self._slots = slots
        self._clock = clock
        self._hold_limit = hold_limit
        self._held = 0.0
        """Seconds for which the job has waited for the runtime."""
        self.used = 0.0
        """Seconds of the runtime's time, in equal parts for all that ran with it; of all runs."""
        self._used_from = 0.0
        self._entered = {Stage.PREPARING: clock()}
        self._end: float | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until the runtime takes the job, and hold a place there for the block.

        There may be several, one after another. One that ends because the runtime is away, stuck
        or sick closes the slots.

        Raises:
            Unavailable: it took none within the slot's time to wait.
        """
        self.waits()
        try:
            with span("wait"):
                await self._until(self.submitted)
            yield
        except (RunLost, RuntimeAway, RuntimeStuck, RuntimeSick):
            self.forget_run()
            self._slots.close()
            raise
        finally:
            self.finishes()

    async def outage(self) -> None:
        """Close the slots, since the runtime is away, and wait until they are open.

        Raises:
            Unavailable: they were not within the slot's time to wait.
        """
        self._slots.close()
        await self._until(self._slots.opened)

    def waits(self) -> None:
        """Its job is ready for the runtime, for the first time or again."""
        first = Stage.WAITING not in self._entered
        for stage in (Stage.SUBMITTED, Stage.RUNNING, Stage.FINISHING):
            self._entered.pop(stage, None)
        self.submitted.clear()
        self.running.clear()
        self._end = None
        if first:
            self.enter(Stage.WAITING)
        self._go(Stage.WAITING)  # and keeps its place among those that wait
        self._slots.waits(self, first=first)

    def finishes(self) -> None:
        """Its job is with the runtime no more, or never was."""
        self.enter(Stage.FINISHING)
        self._slots.finishes(self)

    def successor(self) -> "Slot":
        """A slot without a job, where this one stands."""
        place = Slot(self._slots, self._clock, None)
        place.stage, place.kind = self.stage, self.kind
        place.submission = self.submission
        place._entered, place._end = {**self._entered}, self._end
        return place

    def forget_run(self) -> None:
        """What the runtime's end cut short teaches nothing about how long runs take."""
        self._entered.pop(Stage.RUNNING, None)

    async def _until(self, event: asyncio.Event) -> None:
        began = self._clock()
        try:
            while not event.is_set():
                left = self._patience(began)
                try:
                    async with asyncio.timeout(left):
                        await event.wait()
                except TimeoutError:
                    if self._patience(began):
                        continue
                    raise self._slots.held_up(self._hold_limit or 0.0) from None
        finally:
            self._held += self._clock() - began

    def _patience(self, began: float) -> float | None:
        """Seconds for which it may go on waiting, as it has done since then; None: for ever."""
        limit, now = self._hold_limit, self._clock()
        if limit is None:
            return None
        waited = min(self._held + now - began, now - self._slots.held_on_from)
        return max(0.0, limit - waited)

    def elsewhere(self) -> AbstractContextManager[None]:
        """For the block another message has the job, which is not on its way to the GPU."""
        return self._aside(Stage.ELSEWHERE)

    def fetching(self) -> AbstractContextManager[None]:
        """For the block the job waits for its models, and others overtake it."""
        return self._aside(Stage.FETCHING)

    @contextmanager
    def _aside(self, stage: Stage) -> Iterator[None]:
        self.enter(stage)
        self._slots.changed.set()
        try:
            yield
        finally:
            self.enter(Stage.PREPARING)
            self._slots.changed.set()

    def enter(self, stage: Stage) -> None:
        self._go(stage)
        self._entered[stage] = self._clock()

    def _go(self, stage: Stage) -> None:
        each = self._slots.moves(self, stage)
        if stage is Stage.RUNNING:
            self._used_from = each
        elif self.stage is Stage.RUNNING:
            self.used += each - self._used_from
        self.stage = stage

    def entered(self, stage: Stage) -> float:
        """When the stage was entered; 0 if it never was."""
        return self._entered.get(stage, 0.0)

    @property
    def may_leave(self) -> bool:
        """Whether its message may be given back for want of a place."""
        return self._hold_limit is not None

    def begins(self) -> None:
        """Note that the runtime begins with the run only now, since it had others' work to do."""
        if self.stage is Stage.RUNNING:
            self.enter(Stage.RUNNING)
            self._slots.changed.set()

    def holds(self, output_bytes: int) -> None:
        """Note what its outputs take, in memory or in files; 0 when they are gone."""
        more, self.output_bytes = output_bytes - self.output_bytes, output_bytes
        self._slots.outputs_change(more)

    def needs_no_runtime(self) -> None:
        """Note that there is nothing to run: what is left is to tell so."""
        self.enter(Stage.FINISHING)
        self._slots.changed.set()

    def answered(self) -> None:
        """Note that all that is left is to acknowledge the message."""
        self.enter(Stage.ACKNOWLEDGING)
        self._slots.changed.set()

    def report(self, fraction: float) -> None:
        """Note how much of the run is done, from 0 to 1."""
        if self.stage is Stage.RUNNING and fraction >= _USABLE_PROGRESS:
            now = self._clock()
            started = self.entered(Stage.RUNNING)
            self._end = started + (now - started) / fraction
            self._slots.changed.set()

    def remaining(self, expected: float) -> float:
        """Seconds of GPU work left, where a whole run takes so long once all is loaded."""
        expected += self.switch
        if self.stage is not Stage.RUNNING:
            return expected
        whole = self.entered(Stage.RUNNING) + expected
        end = self._end if self._end is not None else whole
        return max(0.0, end - self._clock())

    @property
    def prepared_in(self) -> float:
        """Seconds from receipt until ready for the runtime."""
        return self.entered(Stage.WAITING) - self.entered(Stage.PREPARING)

    @property
    def waited(self) -> float:
        """Seconds from being ready until the runtime was free, or had answered before that."""
        began = self._entered.get(Stage.RUNNING, self.entered(Stage.FINISHING))
        return began - self.entered(Stage.WAITING)

    @property
    def ran(self) -> float:
        """Seconds on the runtime; 0 if it never began."""
        if Stage.RUNNING not in self._entered:
            return 0.0
        return self.entered(Stage.FINISHING) - self.entered(Stage.RUNNING)
