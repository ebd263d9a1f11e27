"""Jobs between two fleets of one runtime, spot and on demand, by their deadlines."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Final

from queue_agent.planning.arrivals import ExpectedJob
from queue_agent.planning.event_queue import EventQueue
from queue_agent.planning.fleet import SimulatedFleet
from queue_agent.planning.nodes import Circumstances
from queue_agent.planning.ordering import SimulatedRun
from queue_agent.planning.outcome import FleetOutcome
from queue_agent.planning.policy import FleetPolicy
from queue_agent.planning.simulation import Simulation
from queue_agent.wire.capacity import MOST_LOST, ON_DEMAND, SpotEstimate, capacity_for

_START: Final = datetime(2000, 1, 1, tzinfo=UTC)


def some_within(
    jobs: Sequence[ExpectedJob], share: float, seconds: float, seed: int
) -> Sequence[ExpectedJob]:
    """The same jobs, of which that share, chosen at random, is wanted within so many seconds.

    Those that say themselves within what they are wanted stay as they are.
    """
    random = Random(seed)  # noqa: S311
    return [
        replace(job, within=seconds) if job.within is None and random.random() < share else job
        for job in jobs
    ]


def by_capacity(
    jobs: Sequence[ExpectedJob],
    policy: FleetPolicy,
    on_demand: Circumstances,
    spot: Circumstances,
) -> Iterator[FleetOutcome]:
    """All on demand, all on spot, and each job where its deadline wants it."""
    yield Simulation(jobs, replace(policy, name="all on demand"), on_demand).run()
    yield Simulation(jobs, replace(policy, name="all spot"), spot).run()
    for pods in (0, 1):
        name = "by deadline, an on-demand pod stays" if pods else "by deadline"
        split = replace(policy, name=name)
        yield SplitSimulation(jobs, split, on_demand, spot, on_demand_pods=pods).run()


class SplitSimulation:
    """One run of two fleets under the same policy, with the rule by which publishers choose.

    They know what a job takes on average, what a pod takes to start, and the spot queue's length.
    """

    def __init__(
        self,
        jobs: Sequence[ExpectedJob],
        policy: FleetPolicy,
        on_demand: Circumstances,
        spot: Circumstances,
        *,
        on_demand_pods: int = 0,
    ) -> None:
        """`on_demand_pods`: so many stay, work or not."""
        self._name = policy.name
        self._events = EventQueue()
        staying = replace(policy, min_pods=on_demand_pods)
        self._on_demand = SimulatedFleet(staying, on_demand, self._events, self._ended)
        self._spot = SimulatedFleet(policy, spot, self._events, self._ended, leaves=self._leaves)
        self._estimate = SpotEstimate(
            policy.job_seconds, spot.pod_start, on_demand_stays=on_demand_pods > 0
        )
        self._coming = iter(jobs)
        self._left = len(jobs)

    def run(self) -> FleetOutcome:
        """Until all jobs are done and both fleets are at rest; what they did together."""
        return jointly(self._name, self.run_each())

    def run_each(self) -> tuple[FleetOutcome, FleetOutcome]:
        """The same: what was done on demand, and on spot."""
        fleets = (self._on_demand, self._spot)
        self._next_arrival()
        for fleet in fleets:
            fleet.begin()
        while self._left or not all(fleet.at_rest for fleet in fleets):
            self._events.step()
        return self._on_demand.close(), self._spot.close()

    def _next_arrival(self) -> None:
        job = next(self._coming, None)
        if job is not None:
            self._events.at(max(0.0, job.at - self._events.now), partial(self._arrive, job))

    def _arrive(self, job: ExpectedJob) -> None:
        now = _START + timedelta(seconds=self._events.now)
        deadline = None if job.within is None else now + timedelta(seconds=job.within)
        spot = replace(self._estimate, waiting=self._spot.waiting, in_flight=self._spot.in_flight)
        goes_on_demand = capacity_for(deadline, now, spot) == ON_DEMAND
        fleet = self._on_demand if goes_on_demand else self._spot
        fleet.take(SimulatedRun(job, self._events.now))
        self._next_arrival()

    def _leaves(self, run: SimulatedRun) -> bool:
        if run.lost < MOST_LOST:
            return False
        self._on_demand.take(run)
        return True

    def _ended(self) -> None:
        self._left -= 1


def jointly(name: str, outcomes: Sequence[FleetOutcome]) -> FleetOutcome:
    """What several fleets did together; the pods over time are left out."""
    return FleetOutcome(
        policy=name,
        waits=sorted(wait for it in outcomes for wait in it.waits),
        gpu_seconds=sum(it.gpu_seconds for it in outcomes),
        busy_seconds=sum(it.busy_seconds for it in outcomes),
        usd=sum(it.usd for it in outcomes),
        killed=sum(it.killed for it in outcomes),
        pods_started=sum(it.pods_started for it in outcomes),
        nodes_started=sum(it.nodes_started for it in outcomes),
        most_pods=sum(it.most_pods for it in outcomes),
        ended=max(it.ended for it in outcomes),
        with_deadline=sum(it.with_deadline for it in outcomes),
        missed=sum(it.missed for it in outcomes),
        switches=sum(it.switches for it in outcomes),
    )
