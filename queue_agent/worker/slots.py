"""Slots on the way to the GPU: who has one at which stage, and whose turn it is.

Jobs reach the GPU in the order in which they are ready. A slot goes through

    preparing → waiting → submitted → running → finishing → acknowledging

`submitted` is already with the runtime, in its own queue; `running` is worked on. The
runtime takes its requests in order, so the earliest submitted ones are the running ones.

When a run ends because the runtime is away, the slots are closed: no job is submitted, and no
message asked for, until somebody opens them. A run that the runtime's end took with it makes its
job suspected of being the cause: it runs alone, after the others, and then it is known.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from queue_agent.runtime.model_use import Loaded, ModelUse
from queue_agent.telemetry.gpu import GpuClock, SharedTime
from queue_agent.wire.errors import Unavailable
from queue_agent.worker.demand import Demand
from queue_agent.worker.forecast import Forecast
from queue_agent.worker.scheduler import JobScheduler
from queue_agent.worker.slot import Slot, Stage
from queue_agent.worker.standing import Standing

OUTPUTS_LIMIT: Final = 2**30
"""Bytes of outputs that may wait to be stored; with more, nothing else is submitted."""
_BEFORE_THE_END: Final = (
    Stage.PREPARING,
    Stage.FETCHING,
    Stage.WAITING,
    Stage.SUBMITTED,
    Stage.RUNNING,
)


class Slots:
    """The slots of one agent.

    `concurrency` jobs run at a time, `backlog` more may wait inside the runtime, and at most
    `prefetch` messages are held ahead of the running ones. Whose turn it is among those that are
    ready, `scheduler` says.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        backlog: int = 0,
        prefetch: int = 1,
        forecast: Forecast | None = None,
        scheduler: JobScheduler | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.scheduler = scheduler or JobScheduler(forecast or Forecast())
        self.forecast = self.scheduler.forecast
        self.gpu = GpuClock(clock)
        self._shared = SharedTime(clock)
        self._clock = clock
        self._submissions = itertools.count(1)
        self._concurrency = concurrency
        self._backlog = backlog
        self._demand = Demand(self.forecast, prefetch)
        self._standing = Standing()
        self._given_up: set[Slot] = set()
        """Places of runs that were given up and may go on."""
        self._output_bytes = 0
        self._occupied = False
        self._stalled = False
        """Whether a message was given back for want of a place, and no run has ended since."""
        self._run_ended = float("-inf")
        """When the last one did."""
        self.looks_ahead = False
        """Whether what `asks_for` said is only to choose from, for which nobody needs to wait."""
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
        self._standing.add(slot)
        return slot

    def moves(self, slot: Slot, stage: Stage) -> float:
        """The slot goes from where it stands to another stage; see `SlotKeeper`."""
        each = self._gpu_time()
        self._standing.move(slot, stage)
        return each

    def _gpu_time(self) -> float:
        """What a job has used that ran from the start; to be asked before others run or fewer."""
        return self._shared.each(self._standing.count(Stage.RUNNING))

    def outputs_change(self, more_bytes: int) -> None:
        """So much more waits to be stored, or less: submit what has room now."""
        self._output_bytes += more_bytes
        self._advance()

    @property
    def _is_full(self) -> bool:
        """Whether so much waits to be stored that nothing should be added to it."""
        return self._output_bytes >= OUTPUTS_LIMIT

    def keep(self, slot: Slot) -> Slot:
        """A slot in the place of a run that was given up and may go on; to be removed after it."""
        place = slot.successor()
        self._gpu_time()
        self._standing.add(place)
        self._given_up.add(place)
        return place

    def remove(self, slot: Slot) -> None:
        """Give up the slot of a message that is done with."""
        self._gpu_time()
        self._standing.remove(slot)
        self._given_up.discard(slot)
        self._output_bytes -= slot.output_bytes
        self._advance()

    def close(self) -> None:
        """The runtime is away: submit nothing, and ask for no messages, until `open`."""
        self.scheduler.forget()
        self.opened.clear()
        self.closed.set()

    @contextmanager
    def occupied(self) -> Iterator[None]:
        """For the block the runtime has work that is no job's: none is submitted."""
        self._occupied = True
        try:
            yield
        finally:
            self._occupied = False
            self._advance()

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
        return {stage.name.lower(): self._standing.count(stage) for stage in Stage}

    def held_of(self, tenant: str, *, beside: Slot) -> int:
        """How many jobs of a tenant are before the end of their run, beside one of them."""
        held = self._standing.at(*_BEFORE_THE_END)
        return sum(slot.tenant == tenant and slot is not beside for slot in held)

    async def room(self) -> int:
        """Wait until it is time to ask for messages; how many."""
        while True:
            self.changed.clear()
            if wanted := self.asks_for():
                return wanted
            try:
                async with asyncio.timeout(self.pause):
                    await self.changed.wait()
            except TimeoutError:
                continue

    def asks_for(self) -> int:
        """How many messages to ask for now; where none, it is time after a `pause` or a change."""
        room = self._may_take
        wanted = room and self._demand.now(self._standing, self._concurrency, room)
        self.looks_ahead = not wanted
        return wanted or min(room, self._wanted_ahead())

    @property
    def pause(self) -> float | None:
        """Seconds until it is time to ask, unless something changes; None: until that."""
        if not self._may_take:
            return None
        return self._demand.pause(self._standing, self._concurrency)

    def _wanted_ahead(self) -> int:
        ahead = self._standing.at(Stage.WAITING, Stage.PREPARING)
        return self.scheduler.wanted(ahead, self._at_runtime(), self._concurrency)

    def look_ahead(self, waiting: int, room: int) -> tuple[int, list[Slot]]:
        """Of so many messages that wait, how many to take to choose from, and whom to give back."""
        more = self.scheduler.share(waiting, room)
        ready = self._standing.at(Stage.WAITING)
        return more, self.scheduler.surplus(ready, self._at_runtime(), self._concurrency)

    def next_use(self) -> ModelUse | None:
        """What the runtime will have to load next for those that are ready."""
        ready = self._standing.at(Stage.WAITING)
        return self.scheduler.next_use(ready, self._at_runtime(), self._concurrency)

    def seen_loaded(self, loaded: Loaded) -> None:
        """The runtime says what it has loaded."""
        self.scheduler.seen(loaded, self._at_runtime())

    @property
    def held_on_from(self) -> float:
        """The end of the last run, where jobs are held to choose from: as long as others of them
        run, none waits in vain."""
        return self._run_ended if self.scheduler.looks_ahead else float("-inf")

    @property
    def most(self) -> int:
        """How many more messages may be held, were they not asked for just in time."""
        return self._demand.most(self._standing, self._concurrency)

    def until_done(self, slot: Slot) -> float:
        """Seconds until the slot's job is done, by forecast; 0 while nothing is known of runs."""
        return self._demand.until_done(self._standing, self._concurrency, slot)

    @property
    def at_runtime(self) -> bool:
        """Whether the runtime has a job."""
        return self._standing.count(Stage.SUBMITTED, Stage.RUNNING) > 0

    @property
    def _may_take(self) -> int:
        """How many more messages may be held at all."""
        if self.closed.is_set() or self._is_full or (self._stalled and self.at_runtime):
            return 0
        if len(self._given_up) >= self._concurrency:  # the runtime may turn out to be stuck
            return 0
        return self._demand.room(self._standing, self._concurrency)

    def _at_runtime(self) -> list[Slot]:
        """The slots of submitted jobs, in the order of their submission."""
        found = self._standing.at(Stage.RUNNING, Stage.SUBMITTED)
        return sorted(found, key=lambda slot: (slot.entered(Stage.SUBMITTED), slot.submission))

    def waits(self, slot: Slot, *, first: bool) -> None:
        """The slot's job is ready for the runtime, for the first time or again."""
        if first:
            self.forecast.prepare.observe(slot.prepared_in)
        self._advance()

    def finishes(self, slot: Slot) -> None:
        """The slot's job is with the runtime no more, or never was."""
        if slot.ran:
            self._stalled = False
            self._run_ended = self._clock()
            self.scheduler.ended(slot)
        self._advance()

    def _submittable(self, at_runtime: list[Slot]) -> list[Slot]:
        """The jobs whose turn it is; a suspected one's only where there is no other."""
        if self.closed.is_set() or self._is_full or self._occupied:
            return []
        if any(slot.suspected for slot in at_runtime):
            return []
        waiting = self._standing.at(Stage.WAITING)
        others = [slot for slot in waiting if not slot.suspected]
        if others or at_runtime:
            room = self._concurrency + self._backlog - len(at_runtime)
            return self.scheduler.next(others, room, at_runtime, self._concurrency)
        return waiting[:1]

    def _advance(self) -> None:
        at_runtime = self._at_runtime()
        for slot in self._submittable(at_runtime):
            slot.submission = next(self._submissions)
            self.scheduler.submitted(slot)
            slot.enter(Stage.SUBMITTED)
            slot.submitted.set()
            at_runtime.append(slot)
        for slot in at_runtime[: self._concurrency]:
            if slot.stage is Stage.SUBMITTED:
                slot.enter(Stage.RUNNING)
                slot.running.set()
        self.gpu.note(busy=bool(at_runtime))
        self.changed.set()
