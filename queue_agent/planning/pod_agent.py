"""What one simulated agent asks for, holds, chooses and gives back: by the real one's own rules."""

from collections.abc import Callable, Sequence
from typing import Final

from queue_agent.planning.ordering import JobOrder, SimulatedRun
from queue_agent.worker.policy import Policy
from queue_agent.worker.scheduler import JobScheduler
from queue_agent.worker.slot import Slot, Stage
from queue_agent.worker.slots import Slots

_BACKLOG: Final = 1
"""Jobs in the runtime's own queue, beside the one that runs."""


class PodAgent:
    """An agent without its clouds: what it is told takes no time. Durations are in seconds."""

    def __init__(
        self, order: JobOrder, clock: Callable[[], float], others: Callable[[], int]
    ) -> None:
        """`others`: how many other agents there are."""
        self._order = order
        self._clock = clock
        scheduler = JobScheduler(
            by_deadline=order.by_deadline,
            look_ahead=order.look_ahead,
            horizon=order.horizon,
            now=clock,
            others=others,
        )
        self._slots = Slots(
            concurrency=1,
            backlog=_BACKLOG,
            prefetch=Policy.prefetch,
            scheduler=scheduler,
            clock=clock,
        )
        self._runs: dict[Slot, SimulatedRun] = {}

    @property
    def running(self) -> SimulatedRun | None:
        """What its runtime works on; None: nothing."""
        return next(
            (run for slot, run in self._runs.items() if slot.stage is Stage.RUNNING),
            None,
        )

    @property
    def only_to_choose(self) -> bool:
        """Whether what it asks for is only to choose from: nobody is to wait for that."""
        return self._slots.looks_ahead

    @property
    def pause(self) -> float | None:
        """Until it asks for more, unless something changes; None: until that."""
        return self._slots.pause

    def asks_for(self) -> int:
        """How many more jobs it wants now."""
        return self._slots.asks_for()

    def look_ahead(self, waiting: int, room: int) -> tuple[int, Sequence[SimulatedRun]]:
        """Of so many that wait, how many it takes to choose from, and which it gives back."""
        more, surplus = self._slots.look_ahead(waiting, room)
        return more, [self._without(slot) for slot in surplus]

    def takes(self, runs: Sequence[SimulatedRun], asked: float) -> None:
        """It is given what it has asked for at that moment."""
        now = self._clock()
        youngest = now - max(run.arrived for run in runs)
        self._slots.forecast.observe_receive(now - asked, youngest=youngest)
        for run in runs:
            slot = self._slots.add(hold_limit=self._order.horizon)
            slot.deadline, slot.use = run.deadline, run.use
            self._runs[slot] = run
            slot.waits()

    def ends(self) -> None:
        """The run is over, and the next begins."""
        slot = next(slot for slot in self._runs if slot.stage is Stage.RUNNING)
        slot.finishes()
        self._without(slot)

    def leaves(self) -> Sequence[SimulatedRun]:
        """It is to end: it gives back what does not run."""
        self._slots.close()
        return [self._without(slot) for slot in [*self._runs] if slot.stage is not Stage.RUNNING]

    def _without(self, slot: Slot) -> SimulatedRun:
        self._slots.remove(slot)
        return self._runs.pop(slot)
