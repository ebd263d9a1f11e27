"""Slots on the way to the GPU: who has one at which stage, and when to ask for more.

Jobs reach the GPU in the order in which they are ready. A slot goes through

    preparing → waiting → submitted → running → finishing → acknowledging

`submitted` is already with the runtime, in its own queue; `running` is worked on. The
runtime takes its requests in order, so the earliest submitted ones are the running ones.

A held message is one that an idle pod could have had, so the next is asked for just in time:
when, by forecast, all that is held will be done about as soon as another could be ready.
"""

import asyncio
import heapq
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import Final

from queue_agent.telemetry.gpu import GpuClock
from queue_agent.telemetry.tracing import span
from queue_agent.wire.errors import Unavailable
from queue_agent.worker.forecast import Forecast, Kind

_MARGIN: Final = 0.02
"""Seconds to be early, for the noise of timers and of the runtime."""
_SHORTEST_PAUSE: Final = 0.001
_USABLE_PROGRESS: Final = 0.1
"""Below this share of a run its progress predicts too badly."""
_COMPANY: Final = 0.05
"""Seconds to be earlier still, to ask for several messages at once."""
_FINISHING_LIMIT: Final = 16
"""Jobs that may be storing and notifying; more, and the cloud is the bottleneck."""
_ACKNOWLEDGING_LIMIT: Final = 64
"""Jobs whose messages may wait to be deleted, which takes little; more, and the queue is."""


class Stage(Enum):
    PREPARING = auto()
    WAITING = auto()
    SUBMITTED = auto()
    RUNNING = auto()
    FINISHING = auto()
    ACKNOWLEDGING = auto()


class Slot:
    """Where one job stands. Times are by the monotonic clock."""

    def __init__(
        self,
        moved: Callable[["Slot"], None],
        changed: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self.stage = Stage.PREPARING
        self.kind: Kind | None = None
        self.submitted = asyncio.Event()
        self.running = asyncio.Event()
        """Set when the runtime has nothing left to do before this job."""
        self._moved = moved
        self._changed = changed
        self._clock = clock
        self._entered = {Stage.PREPARING: clock()}
        self._end: float | None = None

    @asynccontextmanager
    async def turn(self, *, limit: float | None = None) -> AsyncIterator[None]:
        """Wait until the runtime takes the job, and hold a place there for the block.

        Raises:
            Unavailable: it took none within `limit` seconds.
        """
        self.enter(Stage.WAITING)
        self._moved(self)
        try:
            try:
                with span("wait"):
                    async with asyncio.timeout(limit):
                        await self.submitted.wait()
            except TimeoutError:
                raise Unavailable(
                    f"The runtime had no place free for {limit:g} s.", type="runtime_stalled"
                ) from None
            yield
        finally:
            self.enter(Stage.FINISHING)
            self._moved(self)

    def enter(self, stage: Stage) -> None:
        self.stage = stage
        self._entered[stage] = self._clock()

    def entered(self, stage: Stage) -> float:
        """When the stage was entered; 0 if it never was."""
        return self._entered.get(stage, 0.0)

    def answered(self) -> None:
        """Note that all that is left is to acknowledge the message."""
        self.enter(Stage.ACKNOWLEDGING)
        self._changed()

    def report(self, fraction: float) -> None:
        """Note how much of the run is done, from 0 to 1."""
        if self.stage is Stage.RUNNING and fraction >= _USABLE_PROGRESS:
            now = self._clock()
            started = self.entered(Stage.RUNNING)
            self._end = started + (now - started) / fraction
            self._changed()

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
        self._changed = asyncio.Event()

    def resize(self, *, concurrency: int, backlog: int) -> None:
        """Follow what the runtime says of itself once it is up."""
        if (concurrency, backlog) != (self._concurrency, self._backlog):
            self._concurrency, self._backlog = concurrency, backlog
            self._advance()

    def add(self) -> Slot:
        """A slot for a message just received."""
        slot = Slot(self._moved, self._changed.set, self._clock)
        self._slots.append(slot)
        return slot

    def remove(self, slot: Slot) -> None:
        """Give up the slot of a message that is done with."""
        self._slots.remove(slot)
        self._advance()

    def counts(self) -> Mapping[str, int]:
        """How many jobs are at each stage."""
        return {stage.name.lower(): len(self._at(stage)) for stage in Stage}

    async def room(self) -> int:
        """Wait until it is time to ask for messages; how many."""
        while True:
            self._changed.clear()
            wanted = self._wanted()
            if wanted:
                return wanted
            pause = max(_SHORTEST_PAUSE, self._starving_in(0) - self._ahead)
            try:
                async with asyncio.timeout(pause if self._may_take else None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    @property
    def _ahead(self) -> float:
        return self.forecast.lead + _MARGIN

    @property
    def _may_take(self) -> int:
        """How many more messages may be held at all."""
        finishing = len(self._at(Stage.FINISHING))
        acknowledging = len(self._at(Stage.ACKNOWLEDGING))
        if finishing >= _FINISHING_LIMIT or acknowledging >= _ACKNOWLEDGING_LIMIT:
            return 0
        unfinished = len(self._slots) - finishing - acknowledging
        ahead = self._prefetch if self.forecast.knows_runs else min(1, self._prefetch)
        return max(0, self._concurrency + ahead - unfinished)

    def _wanted(self) -> int:
        limit = self._may_take
        if not limit or self._starving_in(0) > self._ahead:
            return 0
        soon = self._ahead + (_COMPANY if self._concurrency > 1 else 0.0)
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

    def _moved(self, slot: Slot) -> None:
        if slot.stage is Stage.WAITING:
            self.forecast.prepare.observe(slot.prepared_in)
        elif slot.ran:
            self.forecast.observe_run(slot.kind, slot.ran)
        self._advance()

    def _advance(self) -> None:
        at_runtime = self._at(Stage.SUBMITTED, Stage.RUNNING)
        free = self._concurrency + self._backlog - len(at_runtime)
        for slot in self._at(Stage.WAITING)[: max(0, free)]:
            slot.enter(Stage.SUBMITTED)
            slot.submitted.set()
            at_runtime.append(slot)
        for slot in at_runtime[: self._concurrency]:
            if slot.stage is Stage.SUBMITTED:
                slot.enter(Stage.RUNNING)
                slot.running.set()
        self.gpu.note(busy=bool(at_runtime))
        self._changed.set()
