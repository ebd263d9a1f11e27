"""Runs that were given up, and that the runtime may go on with.

A run is cancelled at its time limit, because nobody wants its job any more, or because the pod
must go. Until the runtime is done with it, its place is taken: no other job's time runs while the
GPU is not free. A runtime that goes on for longer than the run could take, while none of its
other runs gets ahead, is stuck.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from queue_agent.runtime import Prepared, Runtime
from queue_agent.wire.errors import QueueAgentError, RunLost, RuntimeAway
from queue_agent.worker.health import RuntimeHealth
from queue_agent.worker.slot import Slot, Stage
from queue_agent.worker.slots import Slots

log = structlog.get_logger()

_POLL: Final = 0.5
STUCK_AFTER: Final = 15.0
"""Seconds after which what was told to stop should have done so, were it slow."""
_LONGEST_REST: Final = 600.0
"""Seconds that the rest of a run is expected to take at most."""


@dataclass(eq=False)
class Leftover:
    """A run that was given up."""

    prepared: Prepared
    place: Slot
    began: float
    since: float
    rest: float
    """When the run would have ended, had it gone on."""
    judged: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is over, or the runtime is found to be stuck."""
    told: bool = False
    """Whether the runtime itself has said that it goes on."""


@dataclass
class Leftovers:
    """Those of one runtime. Times are by the clock."""

    runtime: Runtime
    slots: Slots
    health: RuntimeHealth
    clock: Callable[[], float] = time.monotonic
    _left: list[Leftover] = field(default_factory=list, init=False)
    _news: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _moved_at: float = field(default=float("-inf"), init=False)

    def leave(self, prepared: Prepared, slot: Slot) -> Leftover | None:
        """A run is cancelled: its place stays taken. None where it had not begun."""
        if slot.stage is not Stage.RUNNING:
            return None
        now = self.clock()
        rest = min(slot.remaining(self.slots.forecast.run(slot.kind)), _LONGEST_REST)
        began = slot.entered(Stage.RUNNING)
        left = Leftover(prepared, self.slots.keep(slot), began, now, now + rest)
        slot.forget_run()
        self._left.append(left)
        self._news.set()
        return left

    def resumed(self, prepared: Prepared) -> None:
        """The job is run again as it was prepared: from now on its place is its own."""
        for left in [one for one in self._left if one.prepared is prepared]:
            self._end(left)

    async def judged(self, prepared: Prepared) -> None:
        """Wait until a run that was given up is over or shows that the runtime is stuck."""
        for left in self._left:
            if left.prepared is prepared:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left.rest - self.clock() + 2 * STUCK_AFTER):
                        await left.judged.wait()

    def moved(self) -> None:
        """A run has got ahead, or ended: whatever stays behind, the runtime works."""
        self._moved_at = self.clock()

    async def watch(self) -> None:
        """Ask for what is left, until cancelled; found stuck, the runtime is given no more."""
        while True:
            self._news.clear()
            if not self._left:
                await self._news.wait()
            for left in [*self._left]:
                if await self._is_over(left) and left in self._left:
                    self._end(left)
            self._judge()
            await asyncio.sleep(_POLL)

    def _end(self, left: Leftover) -> None:
        self._left.remove(left)
        self.slots.remove(left.place)
        left.judged.set()

    async def _is_over(self, left: Leftover) -> bool:
        if self.health.away_at > left.began:  # whatever is told of a connection that outlived it
            return True
        try:
            runs = await self.runtime.still_runs(left.prepared)
        except (RuntimeAway, RunLost):
            return True
        except QueueAgentError as error:
            log.debug("cannot ask for a cancelled run", reason=error.message)
            return False
        left.told = runs is True
        return self.clock() >= left.rest if runs is None else not runs

    def _judge(self) -> None:
        now = self.clock()
        late = [
            left
            for left in self._left
            if left.told and now >= max(left.rest, left.since + STUCK_AFTER)
        ]
        if not late or now < self._moved_at + STUCK_AFTER:
            self.health.relieved()
            return
        self.health.found_stuck("The runtime goes on with a run that it was told to stop.")
        self.slots.close()
        for left in late:
            left.judged.set()
