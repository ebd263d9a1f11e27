"""Slots on the way to the GPU: who has one at which stage, and when to ask for more.

Jobs reach the GPU in the order in which they are ready. A slot goes through

    preparing → waiting → submitted → running → finishing → acknowledging

`submitted` is already with the runtime, in its own queue; `running` is worked on. The
runtime takes its requests in order, so the earliest submitted ones are the running ones.

A held message is one that an idle pod could have had, so the next is asked for just in time:
when, by forecast, all that is held will be done about as soon as another could be ready.

When a run ends because the runtime is away, the slots are closed: no job is submitted, and no
message asked for, until somebody opens them. A run that the runtime's end took with it makes its
job suspected of being the cause: it runs alone, after the others, and then it is known.
"""

import asyncio
import heapq
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from enum import Enum, auto
from typing import Final

from queue_agent.telemetry.gpu import GpuClock
from queue_agent.telemetry.tracing import span
from queue_agent.wire.errors import (
    RunLost,
    RuntimeAway,
    RuntimeSick,
    RuntimeStuck,
    Unavailable,
)
from queue_agent.worker.forecast import Forecast, Kind

_MARGIN: Final = 0.02
"""Seconds to be early, for the noise of timers and of the runtime."""
_SHORTEST_PAUSE: Final = 0.001
_USABLE_PROGRESS: Final = 0.1
"""Below this share of a run its progress predicts too badly."""
_COMPANY: Final = 0.05
"""Seconds to be earlier still, to ask for several messages at once."""
_FINISHING_LIMIT: Final = 24
"""Jobs that may be storing and notifying; more, and the cloud is the bottleneck."""
_OUTPUTS_LIMIT: Final = 2**30
"""Bytes of outputs that may wait to be stored; with more, nothing else is submitted."""
_ELSEWHERE_LIMIT: Final = 64
"""Messages that may wait for what another message of their job comes to."""
_ACKNOWLEDGING_LIMIT: Final = 64
"""Jobs whose messages may wait to be deleted, which takes little; more, and the queue is."""


class Stage(Enum):
    PREPARING = auto()
    WAITING = auto()
    SUBMITTED = auto()
    RUNNING = auto()
    FINISHING = auto()
    ACKNOWLEDGING = auto()
    ELSEWHERE = auto()
    """Another message of the same job is worked on, here or by another agent."""


class Slot:
    """Where one job stands. Times are by the monotonic clock."""

    def __init__(
        self, slots: "Slots", clock: Callable[[], float], hold_limit: float | None
    ) -> None:
        self.stage = Stage.PREPARING
        self.kind: Kind | None = None
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
        self._wait()
        try:
            with span("wait"):
                await self._until(self.submitted)
            yield
        except (RunLost, RuntimeAway, RuntimeStuck, RuntimeSick):
            self.forget_run()
            self._slots.close()
            raise
        finally:
            self.enter(Stage.FINISHING)
            self._slots.finishes(self)

    async def outage(self) -> None:
        """Close the slots, since the runtime is away, and wait until they are open.

        Raises:
            Unavailable: they were not within the slot's time to wait.
        """
        self._slots.close()
        await self._until(self._slots.opened)

    def _wait(self) -> None:
        first = Stage.WAITING not in self._entered
        for stage in (Stage.SUBMITTED, Stage.RUNNING, Stage.FINISHING):
            self._entered.pop(stage, None)
        self.submitted.clear()
        self.running.clear()
        self._end = None
        if first:
            self.enter(Stage.WAITING)
        self.stage = Stage.WAITING  # and keeps its place among those that wait
        self._slots.waits(self, first=first)

    def successor(self) -> "Slot":
        """A slot without a job, where this one stands."""
        place = Slot(self._slots, self._clock, None)
        place.stage, place.kind = self.stage, self.kind
        place._entered, place._end = {**self._entered}, self._end
        return place

    def forget_run(self) -> None:
        """What the runtime's end cut short teaches nothing about how long runs take."""
        self._entered.pop(Stage.RUNNING, None)

    async def _until(self, event: asyncio.Event) -> None:
        began, limit = self._clock(), self._hold_limit
        try:
            async with asyncio.timeout(None if limit is None else max(0.0, limit - self._held)):
                await event.wait()
        except TimeoutError:
            raise self._slots.held_up(limit or 0.0) from None
        finally:
            self._held += self._clock() - began

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """For the block another message has the job, which is not on its way to the GPU."""
        self.enter(Stage.ELSEWHERE)
        self._slots.changed.set()
        try:
            yield
        finally:
            self.enter(Stage.PREPARING)
            self._slots.changed.set()

    def enter(self, stage: Stage) -> None:
        self.stage = stage
        self._entered[stage] = self._clock()

    def entered(self, stage: Stage) -> float:
        """When the stage was entered; 0 if it never was."""
        return self._entered.get(stage, 0.0)

    def begins(self) -> None:
        """Note that the runtime begins with the run only now, since it had others' work to do."""
        if self.stage is Stage.RUNNING:
            self.enter(Stage.RUNNING)
            self._slots.changed.set()

    def holds(self, output_bytes: int) -> None:
        """Note what its outputs take, in memory or in files; 0 when they are gone."""
        self.output_bytes = output_bytes
        self._slots.outputs_changed()

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
        """Seconds of GPU work left, where a whole run is expected to take so long."""
        if self.stage is not Stage.RUNNING:
            return expected
        end = self._end if self._end is not None else self.entered(Stage.RUNNING) + expected
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


class Slots:
    """The slots of one agent.

    `concurrency` jobs run at a time, `backlog` more may wait inside the runtime, and at most
    `prefetch` messages are held ahead of the running ones.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        backlog: int = 0,
        prefetch: int = 1,
        forecast: Forecast | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.forecast = forecast or Forecast()
        self.gpu = GpuClock(clock)
        self._clock = clock
        self._concurrency = concurrency
        self._backlog = backlog
        self._prefetch = prefetch
        self._slots: list[Slot] = []
        self._stalled = False
        """Whether a message was given back for want of a place, and no run has ended since."""
        self.changed = asyncio.Event()
        """Set with each change; whoever waits for the next clears it first."""
        self.opened = asyncio.Event()
        self.opened.set()
        self.closed = asyncio.Event()

    def resize(self, *, concurrency: int, backlog: int) -> None:
        """Follow what the runtime says of itself once it is up."""
        if (concurrency, backlog) != (self._concurrency, self._backlog):
            self._concurrency, self._backlog = concurrency, backlog
            self._advance()

    def add(self, *, hold_limit: float | None = None) -> Slot:
        """A slot for a message just received, which may wait so many seconds for the runtime."""
        slot = Slot(self, self._clock, hold_limit)
        self._slots.append(slot)
        return slot

    def outputs_changed(self) -> None:
        """Submit what has room now."""
        self._advance()

    @property
    def _is_full(self) -> bool:
        """Whether so much waits to be stored that nothing should be added to it."""
        return sum(slot.output_bytes for slot in self._slots) >= _OUTPUTS_LIMIT

    def keep(self, slot: Slot) -> Slot:
        """A slot in the place of a run that was given up and may go on; to be removed after it."""
        place = slot.successor()
        self._slots.insert(self._slots.index(slot), place)
        return place

    def remove(self, slot: Slot) -> None:
        """Give up the slot of a message that is done with."""
        self._slots.remove(slot)
        self._advance()

    def close(self) -> None:
        """The runtime is away: submit nothing, and ask for no messages, until `open`."""
        self.opened.clear()
        self.closed.set()

    def open(self) -> None:
        """The runtime is ready."""
        self.closed.clear()
        self.opened.set()
        self._stalled = False
        self._advance()

    def held_up(self, seconds: float) -> Unavailable:
        """A message has waited so long: why.

        An idle pod may have it. This agent asks for no other until there may be a place for it.
        """
        self._stalled = True
        if self.closed.is_set():
            return Unavailable(f"The runtime was away for {seconds:g} s.")
        return Unavailable(
            f"The runtime had no place free for {seconds:g} s.", type="runtime_stalled"
        )

    def counts(self) -> Mapping[str, int]:
        """How many jobs are at each stage."""
        return {stage.name.lower(): len(self._at(stage)) for stage in Stage}

    async def room(self) -> int:
        """Wait until it is time to ask for messages; how many."""
        while True:
            self.changed.clear()
            wanted = self._wanted()
            if wanted:
                return wanted
            pause = max(_SHORTEST_PAUSE, self._starving_in(0) - self._ahead)
            try:
                async with asyncio.timeout(pause if self._may_take else None):
                    await self.changed.wait()
            except TimeoutError:
                continue

    @property
    def at_runtime(self) -> bool:
        """Whether the runtime has a job."""
        return bool(self._at_runtime())

    @property
    def _ahead(self) -> float:
        return self.forecast.lead + _MARGIN

    @property
    def _may_take(self) -> int:
        """How many more messages may be held at all."""
        if self.closed.is_set() or self._is_full or (self._stalled and self._at_runtime()):
            return 0
        finishing = len(self._at(Stage.FINISHING))
        acknowledging = len(self._at(Stage.ACKNOWLEDGING))
        elsewhere = len(self._at(Stage.ELSEWHERE))
        if (
            finishing >= _FINISHING_LIMIT
            or acknowledging >= _ACKNOWLEDGING_LIMIT
            or elsewhere >= _ELSEWHERE_LIMIT
        ):
            return 0
        unfinished = self._at(Stage.PREPARING, Stage.WAITING, Stage.SUBMITTED, Stage.RUNNING)
        if any(slot.suspected for slot in unfinished):
            return 0
        ahead = self._prefetch if self.forecast.knows_runs else min(1, self._prefetch)
        return max(0, self._concurrency + ahead - len(unfinished))

    def _wanted(self) -> int:
        limit = self._may_take
        if not limit or self._starving_in(0) > self._ahead:
            return 0
        # the next can only be asked for once these are here
        soon = self._ahead + self.forecast.receive.mean
        if self._concurrency > 1:
            soon += _COMPANY
        wanted = 1
        while wanted < limit and self._starving_in(wanted) <= soon:
            wanted += 1
        return wanted

    def _starving_in(self, more: int) -> float:
        """Seconds until the GPU has nothing to do, were `more` messages held."""
        expected = {slot: self.forecast.run(slot.kind) for slot in self._slots}
        running = self._at(Stage.RUNNING)
        free = [slot.remaining(expected[slot]) for slot in running]
        free += [0.0] * (self._concurrency - len(running))
        heapq.heapify(free)
        queued = self._at(Stage.PREPARING, Stage.WAITING, Stage.SUBMITTED)
        works = [expected[slot] for slot in queued] + [self.forecast.run(None)] * more
        for work in works:
            heapq.heapreplace(free, free[0] + work)
        return free[0]

    def _at(self, *stages: Stage) -> list[Slot]:
        """The slots at these stages, by the order in which they became ready."""
        found = [slot for slot in self._slots if slot.stage in stages]
        return sorted(found, key=lambda slot: slot.entered(Stage.WAITING))

    def _at_runtime(self) -> list[Slot]:
        """The slots of submitted jobs, in the order of their submission."""
        found = self._at(Stage.SUBMITTED, Stage.RUNNING)
        return sorted(found, key=lambda slot: slot.entered(Stage.SUBMITTED))

    def waits(self, slot: Slot, *, first: bool) -> None:
        """The slot's job is ready for the runtime, for the first time or again."""
        if first:
            self.forecast.prepare.observe(slot.prepared_in)
        self._advance()

    def finishes(self, slot: Slot) -> None:
        """The slot's job is with the runtime no more, or never was."""
        if slot.ran:
            self._stalled = False
            self.forecast.observe_run(slot.kind, slot.ran)
        self._advance()

    def _submittable(self, at_runtime: list[Slot]) -> list[Slot]:
        """The jobs whose turn it is; a suspected one's only where there is no other."""
        if self.closed.is_set() or self._is_full or any(slot.suspected for slot in at_runtime):
            return []
        waiting = self._at(Stage.WAITING)
        others = [slot for slot in waiting if not slot.suspected]
        if others or at_runtime:
            return others[: max(0, self._concurrency + self._backlog - len(at_runtime))]
        return waiting[:1]

    def _advance(self) -> None:
        at_runtime = self._at_runtime()
        for slot in self._submittable(at_runtime):
            slot.enter(Stage.SUBMITTED)
            slot.submitted.set()
            at_runtime.append(slot)
        for slot in at_runtime[: self._concurrency]:
            if slot.stage is Stage.SUBMITTED:
                slot.enter(Stage.RUNNING)
                slot.running.set()
        self.gpu.note(busy=bool(at_runtime))
        self.changed.set()
