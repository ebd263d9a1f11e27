"""Jobs that come, and a fleet that does them; or two fleets, between which they are routed."""

from collections.abc import Sequence
from functools import partial

from queue_agent.planning.arrivals import ExpectedJob
from queue_agent.planning.event_queue import EventQueue
from queue_agent.planning.fleet import SimulatedFleet
from queue_agent.planning.nodes import Circumstances
from queue_agent.planning.ordering import JobOrder, SimulatedRun
from queue_agent.planning.outcome import FleetOutcome
from queue_agent.planning.policy import FleetPolicy


def oracle(jobs: Sequence[ExpectedJob], circumstances: Circumstances) -> FleetOutcome:
    """The least there is: a GPU is there the moment a job needs it, and paid for as long."""
    busy = sum(job.seconds for job in jobs)
    return FleetOutcome(
        policy="oracle",
        waits=[0.0] * len(jobs),
        gpu_seconds=busy,
        busy_seconds=busy,
        usd=busy / 3600 * circumstances.nodes[0].usd,
        ended=max(job.at + job.seconds for job in jobs),
    )


class Simulation:
    """One run. Jobs come at their times or, with `clients`, each when one of so many is free."""

    def __init__(
        self,
        jobs: Sequence[ExpectedJob],
        policy: FleetPolicy,
        circumstances: Circumstances | None = None,
        *,
        clients: int = 0,
        order: JobOrder | None = None,
    ) -> None:
        self._events = EventQueue()
        self._fleet = SimulatedFleet(
            policy, circumstances or Circumstances(), self._events, self._ended, order=order
        )
        self._coming = iter(jobs)
        self._left = len(jobs)
        self._clients = clients

    def run(self) -> FleetOutcome:
        """Until all jobs are done and no more pods and nodes are left than are to stay."""
        for _ in range(max(1, self._clients)):
            self._next_arrival()
        self._fleet.begin()
        while self._left or not self._fleet.at_rest:
            self._events.step()
        return self._fleet.close()

    def _next_arrival(self) -> None:
        job = next(self._coming, None)
        if job is not None:
            self._events.at(max(0.0, job.at - self._events.now), partial(self._arrive, job))

    def _arrive(self, job: ExpectedJob) -> None:
        self._fleet.take(SimulatedRun(job, self._events.now))
        if not self._clients:
            self._next_arrival()

    def _ended(self) -> None:
        self._left -= 1
        if self._clients:
            self._next_arrival()
