"""Jobs that come, and a fleet that does them; or two fleets, between which they are routed."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from queue_agent.planning.arrivals import DAY, ExpectedJob
from queue_agent.planning.event_queue import EventQueue
from queue_agent.planning.fleet import SimulatedFleet
from queue_agent.planning.nodes import Circumstances
from queue_agent.planning.ordering import JobOrder, SimulatedRun
from queue_agent.planning.outcome import FleetOutcome
from queue_agent.planning.policy import FleetPolicy
from queue_agent.wire.errors import SettingsError

LONGEST: Final = 800 * DAY
"""After so long in a fleet's time it is taken to have no end."""


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
        self._least = max(
            max((job.at + job.seconds for job in jobs), default=0.0),
            sum(job.seconds for job in jobs) / max(1, policy.max_pods),
        )
        self._left = len(jobs)
        self._clients = clients

    def run(self) -> FleetOutcome:
        """Until all jobs are done and no more pods and nodes are left than are to stay.

        Raises:
            SettingsError: that takes longer than `LONGEST`, as where each pod is lost before it
                has done a job; or that much work is there from the start.
        """
        if self._least > LONGEST:
            raise SettingsError(
                f"{self._least / DAY:.4g} days at least until the last job is done: "
                f"{LONGEST / DAY:.0f} are the most that is simulated."
            )
        for _ in range(max(1, self._clients)):
            self._next_arrival()
        self._fleet.begin()
        while self._left or not self._fleet.at_rest:
            self._events.step()
            if self._events.now > LONGEST:
                raise SettingsError(
                    f"After {LONGEST / DAY:.0f} days {self._left:,} jobs are not done, nor ever "
                    f"will be: fewer --interruptions, shorter jobs or starts, or more pods."
                )
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
