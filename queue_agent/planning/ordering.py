"""Whose turn it is in a simulated fleet: by the same rules as in queues and agents."""

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from queue_agent.cloud.memory.fairness import Fairness
from queue_agent.planning.arrivals import ExpectedJob
from queue_agent.runtime import Loaded, ModelUse
from queue_agent.worker.forecast import Forecast
from queue_agent.worker.scheduling import (
    MOST_OVERTAKEN,
    Candidate,
    Situation,
    SwitchCost,
    missing,
    surplus,
    turns,
)

_EARLY: Final = 0.02
"""Seconds before the expected end of what an agent has, at which it asks for more."""


@dataclass(frozen=True, slots=True)
class JobOrder:
    """What operators say of it, and what it costs to load another model. In seconds."""

    look_ahead: int = 1
    switch: float = 0.0
    by_deadline: bool = True
    horizon: float = 60.0
    """No more is held ahead than begins within so long."""


FIRST_COME: Final = JobOrder()


@dataclass(eq=False, slots=True)
class SimulatedRun:
    """A job in a fleet's queue, held by one of its pods, or on a GPU."""

    job: ExpectedJob
    arrived: float
    lost: int = 0
    """Attempts that were cut off."""
    overtaken: int = 0
    """So many that were ready later went before it, in the pod that holds it."""
    held_since: float = 0.0

    @property
    def deadline(self) -> float | None:
        """By when it is wanted."""
        return None if self.job.within is None else self.arrived + self.job.within

    @property
    def use(self) -> ModelUse:
        """What has to be loaded for it."""
        return ModelUse.named([self.job.model]) if self.job.model else ModelUse()


class SimulatedQueue:
    """What waits, the earliest first; where tenants are told, fair among them as SQS is."""

    def __init__(self) -> None:
        self._runs: list[SimulatedRun] = []
        self._fairness = Fairness()
        self._of_tenants = 0
        """Of what waits."""
        self._in_flight: dict[SimulatedRun, None] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def put(self, run: SimulatedRun, now: float) -> None:
        """One more, or one that was given back, which is where it was."""
        if run in self._in_flight:
            self.done(run, now)
        elif run.job.tenant:
            self._fairness.sent(run.job.tenant, now)
        self._of_tenants += bool(run.job.tenant)
        insort(self._runs, run, key=_arrived)

    def put_first(self, run: SimulatedRun, now: float) -> None:
        """One whose attempt was cut off: it is the next to be taken."""
        self.done(run, now)
        self._of_tenants += bool(run.job.tenant)
        self._runs.insert(0, run)

    def take(self, now: float) -> SimulatedRun:
        """Whose turn it is; there must be one."""
        place = 0
        if self._of_tenants:
            in_flight = [(run.job.tenant or None, run.held_since) for run in self._in_flight]
            rank = self._fairness.rank(in_flight, now)
            ranks = [rank(run.job.tenant or None) for run in self._runs]
            place = ranks.index(min(ranks))
        run = self._runs.pop(place)
        self._of_tenants -= bool(run.job.tenant)
        run.held_since, run.overtaken = now, 0
        self._in_flight[run] = None
        if run.job.tenant and all(other.job.tenant != run.job.tenant for other in self._runs):
            self._fairness.used_up([run.job.tenant], now)
        return run

    def done(self, run: SimulatedRun, now: float) -> None:
        """A pod has it no more."""
        del self._in_flight[run]
        self._fairness.processed(run.job.tenant or None, run.held_since, now)


@dataclass(eq=False, slots=True)
class PodAgent:
    """What one agent holds and knows, beside what its runtime has: two jobs at most."""

    order: JobOrder
    held: list[SimulatedRun] = field(default_factory=list)
    """Ready, by when they were."""
    forecast: Forecast = field(default_factory=Forecast)
    loaded: Loaded = field(default_factory=Loaded)
    """Once the runtime has begun with all that it has."""

    def load(self, run: SimulatedRun) -> float:
        """The runtime gets it as its last: seconds that it will load a model for."""
        lacks = run.use.is_known and not run.use.models <= self.loaded.models
        self.loaded = self.loaded.after(run.use)
        return self.order.switch if lacks else 0.0

    def next(self, now: float, ends: float) -> SimulatedRun | None:
        """Whom the runtime gets now, where it is busy until then."""
        if len(self.held) <= 1:
            return self.held.pop() if self.held else None
        chosen = turns(list(map(self._candidate, self.held)), 1, self._situation(now, ends))[0]
        for other in self.held[:chosen]:
            other.overtaken += 1
        return self.held.pop(chosen)

    def wanted(self, now: float, ends: float) -> int:
        """How many more to have to choose from."""
        if self.order.look_ahead <= 1:
            return 0
        held = list(map(self._candidate, self.held))
        situation = self._situation(now, ends)
        return missing(held, self.order.look_ahead, self.order.horizon, situation)

    def given_back(self, now: float, ends: float) -> Sequence[SimulatedRun]:
        """Those that another pod, which has nothing, would begin with sooner."""
        if self.order.look_ahead <= 1:
            return ()
        elsewhere = self.order.switch + _EARLY
        situation = replace(self._situation(now, ends), elsewhere=elsewhere)
        places = surplus(list(map(self._candidate, self.held)), situation)
        gone = [self.held[place] for place in places]
        self.held = [run for run in self.held if run not in gone]
        return gone

    def asks_after(self, loads: float) -> float:
        """Seconds from a run's begin until another is asked for, where none waits behind it.

        By what runs took so far, since nobody knows how long this one will.
        """
        return max(0.0, self.forecast.run(None) + loads - _EARLY)

    def _candidate(self, run: SimulatedRun) -> Candidate:
        return Candidate(run.deadline, run.overtaken, use=run.use, seconds=self.forecast.run(None))

    def _situation(self, now: float, ends: float) -> Situation:
        return Situation(
            now=now,
            busy=max(0.0, ends - now),
            loaded=self.loaded,
            cost=SwitchCost(model=self.order.switch),
            by_deadline=self.order.by_deadline,
            by_model=self.order.look_ahead > 1,
            most_overtaken=max(MOST_OVERTAKEN, self.order.look_ahead),
        )


def _arrived(run: SimulatedRun) -> float:
    return run.arrived
