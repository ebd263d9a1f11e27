"""Spot or on demand: the capacity that a job goes to, where its runtime has a queue for each.

The words are those of Karpenter's label `karpenter.sh/capacity-type`. Whoever publishes decides:
the client, the gateway and the function behind API Gateway ask here.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

CapacityType = Literal["spot", "on-demand"]

SPOT: Final[CapacityType] = "spot"
ON_DEMAND: Final[CapacityType] = "on-demand"
CAPACITY_ATTRIBUTE: Final = "capacity_type"
"""By which queues filter jobs; those without it are for spot."""
SPOT_WARNING: Final = 120.0
"""Seconds between EC2's word that it takes a spot instance and the end of it:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html"""
MOST_LOST: Final = 2
"""Attempts on spot nodes that a job may lose; then it goes on demand."""


@dataclass(frozen=True)
class SpotEstimate:
    """What is known of a runtime's spot capacity; durations in seconds."""

    job: float
    """What a job takes on the GPU."""
    start: float
    """What a pod takes to start, its node included."""
    on_demand_stays: bool = False
    """Whether there are on-demand pods without work, too: else they have to start as well."""
    waiting: int = 0
    """Messages in its queue; 0 too where that is not known."""
    in_flight: int = 0
    """Messages that its agents hold."""

    @property
    def longest(self) -> float:
        """Within so long a job is done there, even if the first node it runs on is taken away.

        That costs it an attempt only where it takes longer than the warning before that. What
        waits before it is done by as many pods as hold a message now, one at least.
        """
        spent = self.waiting * self.job / max(1, self.in_flight) + self.job
        if self.on_demand_stays and not self.in_flight:
            spent += self.start  # of which an on-demand pod has none
        if self.job > SPOT_WARNING:
            spent += self.start + self.job
        return spent


def capacity_for(deadline: datetime | None, now: datetime, spot: SpotEstimate) -> CapacityType:
    """Spot, unless the job is wanted sooner than spot is sure to have it done."""
    if deadline is None or (deadline - now).total_seconds() >= spot.longest:
        return SPOT
    return ON_DEMAND
