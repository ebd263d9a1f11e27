"""What an agent knows that `queue_agent.worker.scheduling` decides by, and what follows from it."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from queue_agent.runtime.model_use import Loaded, ModelUse
from queue_agent.worker.forecast import Forecast
from queue_agent.worker.scheduling import (
    MOST_OVERTAKEN,
    Candidate,
    Situation,
    missing,
    next_use,
    surplus,
    turns,
)
from queue_agent.worker.slot import Slot, Stage
from queue_agent.worker.switching import SwitchCosts

MOST_AHEAD: Final = 32
"""Messages that may be looked ahead at."""


@dataclass
class JobScheduler:
    """Of one agent's slots. Durations are in seconds."""

    forecast: Forecast = field(default_factory=Forecast)
    by_deadline: bool = True
    look_ahead: int = 1
    """So many messages are held ahead of the runtime to choose from; 1: as many as are needed for
    it never to wait, and none goes first for its model."""
    horizon: float = 60.0
    """No more are held than begin within so long."""
    tenant_limit: int | None = None
    """So many jobs of a tenant may be at the runtime while another's waits; None: any."""
    now: Callable[[], float] = time.time
    others: Callable[[], int] = lambda: 0
    """How many other agents serve the same queue."""
    loaded: Loaded = field(default_factory=Loaded)
    """What the runtime has, once it has begun with all that was submitted."""
    costs: SwitchCosts = field(default_factory=SwitchCosts)
    in_doubt: bool = True
    """Whether the runtime should be asked what it has loaded."""
    loads_ahead: bool = False
    """Whether it was asked to load something beside its runs."""
    _is_empty: bool = field(default=False, init=False)
    """Whether the queue had nothing when it was last looked ahead."""
    _looked: bool = field(default=False, init=False)
    """Whether that was since a run has ended."""

    @property
    def looks_ahead(self) -> bool:
        return self.look_ahead > 1

    @property
    def most_overtaken(self) -> int:
        """So many that were ready later may go before a job."""
        return max(MOST_OVERTAKEN, self.look_ahead)

    def next(
        self, ready: list[Slot], room: int, at_runtime: Sequence[Slot], places: int
    ) -> list[Slot]:
        """Those that go now, in their order; whom they overtake has it noted."""
        if room <= 0 or not self._matters(ready):
            return ready[: max(0, room)]
        chosen: list[Slot] = []
        candidates = [self._candidate(slot) for slot in ready]
        for place in turns(candidates, room, self._situation(at_runtime, places)):
            for other in ready[:place]:
                other.overtaken += other not in chosen
            chosen.append(ready[place])
        return chosen

    def submitted(self, slot: Slot) -> None:
        """It is with the runtime, after all that was before."""
        slot.lack = self.loaded.lacks(slot.use)
        slot.may_load = slot.use.is_known and not self.loaded.uses
        slot.switch = self.costs.known.of(slot.lack)
        self.loaded = self.loaded.after(slot.use)

    def ended(self, slot: Slot) -> None:
        """Learn from a run that has ended."""
        plain = self._plain(slot)
        if plain is not None:
            self.forecast.observe_run(slot.kind, plain)
        self.in_doubt |= slot.lack == "model" or self.loads_ahead
        self._looked = False

    def _plain(self, slot: Slot) -> float | None:
        """Seconds that its run took but for what it loaded; None: that tells nothing new."""
        if slot.may_load:  # of a first run better than nothing, and the second replaces it
            return None if self.forecast.knows_runs else slot.ran
        return self.costs.observe(slot.kind, slot.use, slot.lack, slot.ran)

    def seen(self, loaded: Loaded, at_runtime: Sequence[Slot]) -> None:
        """The runtime says what it has loaded; what it was given since comes on top."""
        self.loads_ahead = False
        uses = loaded.uses or self.loaded.uses
        found = Loaded(uses, max(1, loaded.most))
        for slot in at_runtime:
            found = found.after(slot.use)
        self.loaded = found

    def forget(self) -> None:
        """The runtime was away, or may have been."""
        self.loaded = replace(self.loaded, uses=())
        self.in_doubt = True

    def wanted(self, ahead: Sequence[Slot], at_runtime: Sequence[Slot], places: int) -> int:
        """How many more messages to have to choose from, of those that nobody else waits for."""
        if not self.looks_ahead or self._looked or not at_runtime:
            return 0
        candidates = [self._candidate(slot) for slot in ahead]
        situation = self._situation(at_runtime, places)
        return missing(candidates, self.look_ahead, self.horizon, situation)

    def share(self, waiting: int, room: int) -> int:
        """How many of those that wait to take: no more than its part, lest others be idle.

        What each agent needs next stays, since that is asked for in time.
        """
        self._looked, self._is_empty = True, waiting == 0
        return min(room, max(0, waiting // (1 + self.others()) - 1))

    def surplus(self, ready: list[Slot], at_runtime: Sequence[Slot], places: int) -> list[Slot]:
        """Those that another pod would begin with sooner."""
        if not (self.looks_ahead and self._is_empty and self.others()):
            return []
        candidates = [self._candidate(slot) for slot in ready]
        elsewhere = self.costs.known.of("model") + self.forecast.lead
        situation = replace(self._situation(at_runtime, places), elsewhere=elsewhere)
        return [ready[place] for place in surplus(candidates, situation)]

    def next_use(
        self, ready: Sequence[Slot], at_runtime: Sequence[Slot], places: int
    ) -> ModelUse | None:
        """What will have to be loaded next."""
        candidates = [self._candidate(slot) for slot in ready]
        return next_use(candidates, self._situation(at_runtime, places))

    def _matters(self, ready: Sequence[Slot]) -> bool:
        """Whether any order but theirs is possible."""
        if self.by_deadline and any(slot.deadline is not None for slot in ready):
            return True
        if self.tenant_limit is not None and any(slot.tenant is not None for slot in ready):
            return True
        return self.looks_ahead and any(slot.use.is_known for slot in ready)

    def _situation(self, at_runtime: Sequence[Slot], places: int) -> Situation:
        run = self.forecast.run
        busy = sum(slot.remaining(run(slot.kind)) for slot in at_runtime)
        return Situation(
            now=self.now(),
            busy=busy / places,
            places=places,
            loaded=self.loaded,
            cost=self.costs.known,
            by_deadline=self.by_deadline,
            by_model=self.looks_ahead,
            most_overtaken=self.most_overtaken,
            tenant_limit=self.tenant_limit,
            at_work=Counter(slot.tenant for slot in at_runtime if slot.tenant is not None),
        )

    def _candidate(self, slot: Slot) -> Candidate:
        return Candidate(
            deadline=slot.deadline,
            overtaken=slot.overtaken,
            group=slot.group,
            tenant=slot.tenant,
            use=slot.use,
            seconds=self.forecast.run(slot.kind),
            may_leave=slot.may_leave and slot.group is None and slot.stage is Stage.WAITING,
        )
