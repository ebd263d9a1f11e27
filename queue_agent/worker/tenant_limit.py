"""The strict limit of what an agent holds of one tenant; the rest comes again, paced."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import structlog

from queue_agent.worker.delivery import Delivery
from queue_agent.worker.pausing import PutOff
from queue_agent.worker.slots import Slots

log = structlog.get_logger()

_SOONEST: Final = 1.0
_LATEST: Final = 300.0
"""Seconds for which a message is put off at a time."""


@dataclass
class TenantLimit:
    """Of one agent. Messages beyond the limit come back as fast as the tenant's jobs end here."""

    slots: Slots
    most: int | None = None
    """Jobs of one tenant that are held, from their receipt to the end of their run; None: any."""
    _next: defaultdict[str, float] = field(
        default_factory=lambda: defaultdict(lambda: float("-inf")), init=False
    )
    """When the next that is put off would have its turn, by tenant."""

    async def admit(self, delivery: Delivery) -> None:
        """Put a job off whose tenant has as many here as it may.

        One that cannot be put off is worked on.

        Raises:
            PutOff: its message comes again.
        """
        tenant = delivery.slot.tenant
        if self.most is None or tenant is None or delivery.message.group is not None:
            return  # of a group in order, nothing else comes before it is done
        if self.slots.held_of(tenant, beside=delivery.slot) < self.most:
            return
        now = delivery.clock()
        pace = self.slots.forecast.run(delivery.slot.kind) / self.most
        self._next[tenant] = max(now, self._next[tenant]) + max(_SOONEST, pace)
        log.info("tenant has enough in flight", most=self.most)
        if await delivery.lease.put_off(min(self._next[tenant] - now, _LATEST)):
            raise PutOff(f"Its tenant has {self.most} jobs here.")
