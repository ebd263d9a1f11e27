"""Jobs that will miss their deadline: found out early, told, and declined where that is wanted."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.worker.delivery import Delivery
from queue_agent.worker.notifier import Notifier
from queue_agent.worker.policy import Policy
from queue_agent.worker.slots import Slots

log = structlog.get_logger()


class DeadlineMissed(Rejected):
    """The job would end after its deadline, and is not wanted then."""

    default_type = "deadline_missed"


@dataclass(frozen=True)
class Deadlines:
    """Judges by what runs, what goes before a job, and how long such jobs took."""

    policy: Policy
    slots: Slots
    notifier: Notifier
    now: Callable[[], float] = field(default=time.time)

    async def judge(self, delivery: Delivery) -> None:
        """Note and tell, once, that the job will miss its deadline.

        Raises:
            DeadlineMissed: it shall not be done then.
        """
        metadata = delivery.job.metadata
        if metadata.deadline is None or delivery.late:
            return
        left = metadata.deadline.timestamp() - self.now()
        needed = self.slots.until_done(delivery.slot)
        if needed <= left:
            return
        delivery.late = True
        what = metadata.on_late or self.policy.on_late
        log.info("will be late", seconds=round(needed - left, 3), on_late=what)
        if what == "fail":
            raise DeadlineMissed(
                f"The job would be done {needed - left:.1f} s after its deadline, "
                f"{metadata.deadline.isoformat()}."
            )
        if what == "notify":
            try:
                await self.notifier.tell_late(delivery)
            except Unavailable as error:
                log.warning("not told that it will be late", reason=error.message)
