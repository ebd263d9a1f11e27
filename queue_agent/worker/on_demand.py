"""A job that has lost its attempts on spot nodes is sent to the queue for on-demand capacity.

It is put there first and then removed here, so that it is lost at no moment. Where the removal
fails, or the agent ends between the two, the job lies in both queues: it is one job by its id, and
done once, as any that was published twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from queue_agent.cloud import Queue
from queue_agent.wire.capacity import MOST_LOST
from queue_agent.wire.errors import QueueAgentError, Unavailable
from queue_agent.worker.delivery import Delivery

log = structlog.get_logger()


class MovedOnDemand(QueueAgentError):
    """Another queue has the job; what is left is to acknowledge the message."""

    default_type = "moved_on_demand"


@dataclass(frozen=True)
class OnDemandQueues:
    """Take jobs that were delivered here more than twice, none of which came to an end."""

    queues: Mapping[str, Queue]
    """By the queue that a job came from; what comes from others stays."""

    async def take(self, delivery: Delivery) -> None:
        """Raise `MovedOnDemand` once the job is there, if it shall be.

        One that cannot be sent now is worked on here.
        """
        message = delivery.message
        queue = self.queues.get(message.queue)
        if queue is None or delivery.number <= MOST_LOST:
            return
        try:
            await queue.send(message.body, message.attributes, message.ordering)
        except Unavailable as error:
            log.warning("not sent on demand", reason=error.message)
            return
        log.info("sent on demand", deliveries=delivery.number)
        raise MovedOnDemand("The job was sent to the queue for on-demand capacity.")
