"""What a simulated fleet did."""

from dataclasses import dataclass, field


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

    def wait(self, percent: float) -> float:
        """The shortest wait that so many percent of the jobs do not exceed (nearest rank)."""
        rank = -(-len(self.waits) * percent // 100)
        return self.waits[max(0, int(rank) - 1)]

    @property
    def mean_wait(self) -> float:
        """Of all jobs."""
        return sum(self.waits) / len(self.waits)

    @property
    def usd_per_1000(self) -> float:
        """USD for 1,000 jobs."""
        return 1000 * self.usd / len(self.waits)
