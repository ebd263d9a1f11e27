"""Whose turn it is in a simulated fleet: by the same rules as in queues and agents."""

from bisect import insort
from dataclasses import dataclass
from typing import Final

from queue_agent.cloud.memory.fairness import Fairness
from queue_agent.planning.arrivals import ExpectedJob
from queue_agent.runtime import ModelUse
from queue_agent.worker.policy import Policy
from queue_agent.worker.queue_order import QueueOrder, strict

ONLY: Final = ""
"""What a fleet's only queue is called."""
ONE_QUEUE: Final = strict([ONLY])


@dataclass(frozen=True, slots=True)
class JobOrder:
    """What operators say of it, and what it costs to load another model. In seconds."""

    look_ahead: int = 1
    switch: float = 0.0
    by_deadline: bool = True
    horizon: float = Policy.hold_limit
    """No more is held ahead than begins within so long."""
    queues: QueueOrder = ONE_QUEUE
    """By which rule agents take messages of several queues, called as jobs' priorities are."""


@dataclass(eq=False, slots=True)
class SimulatedRun:
    """A job in a fleet's queue, held by one of its pods, or on a GPU."""

    job: ExpectedJob
    arrived: float
    lost: int = 0
    """Attempts that were cut off."""
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
        run.held_since = now
        self._in_flight[run] = None
        if run.job.tenant and all(other.job.tenant != run.job.tenant for other in self._runs):
            self._fairness.used_up([run.job.tenant], now)
        return run

    def done(self, run: SimulatedRun, now: float) -> None:
        """A pod has it no more."""
        del self._in_flight[run]
        self._fairness.processed(run.job.tenant or None, run.held_since, now)


def _arrived(run: SimulatedRun) -> float:
    return run.arrived
