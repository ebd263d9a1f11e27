"""What a simulated fleet did."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class QueueOutcome:
    """What became of the jobs of one priority."""

    waits: list[float] = field(default_factory=list)
    """Of each finished job; sorted."""
    missed: int = 0
    """Jobs that ended after their deadline."""

    def wait(self, percent: float) -> float:
        """The shortest wait that so many percent of the jobs do not exceed (nearest rank)."""
        return nearest_rank(self.waits, percent)


@dataclass(slots=True)
class FleetOutcome:
    """What a simulated fleet did."""

    policy: str
    waits: list[float] = field(default_factory=list)
    """Of each finished job, seconds from its arrival to its end beyond its own length; sorted."""
    gpu_seconds: float = 0
    """Paid, with GPUs of a node that no pod has."""
    busy_seconds: float = 0
    """Of finished jobs."""
    usd: float = 0
    killed: int = 0
    """Runs that were cut off, and done again."""
    pods_started: int = 0
    nodes_started: int = 0
    most_pods: int = 0
    ended: float = 0
    """When the last job did."""
    with_deadline: int = 0
    """Finished jobs that were wanted by some moment."""
    missed: int = 0
    """Those of them that ended later."""
    switches: int = 0
    """Loads of another model."""
    pods_over_time: list[tuple[float, int]] = field(default_factory=list)
    by_priority: dict[str, QueueOutcome] = field(default_factory=dict)
    """Of jobs that say theirs."""

    def note(self, wait: float, ended: float, *, priority: str, late: bool) -> None:
        """One more job has ended."""
        self.waits.append(wait)
        self.ended = ended
        self.missed += late
        if priority:
            queue = self.by_priority.setdefault(priority, QueueOutcome())
            queue.waits.append(wait)
            queue.missed += late

    def sort(self) -> None:
        """No more will be noted."""
        for waits in (self.waits, *(queue.waits for queue in self.by_priority.values())):
            waits.sort()

    def wait(self, percent: float) -> float:
        """The shortest wait that so many percent of the jobs do not exceed (nearest rank)."""
        return nearest_rank(self.waits, percent)

    @property
    def mean_wait(self) -> float:
        """Of all jobs."""
        return sum(self.waits) / len(self.waits)

    @property
    def usd_per_1000(self) -> float:
        """USD for 1,000 jobs."""
        return 1000 * self.usd / len(self.waits)


def nearest_rank(ordered: Sequence[float], percent: float) -> float:
    """The least of the values that so many percent of them do not exceed."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]
