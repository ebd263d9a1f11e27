"""What topics and queues in memory that keep an order take for sent before."""

from typing import Final

from queue_agent.cloud.memory.clock import Clock
from queue_agent.wire.publication import Ordering

_INTERVAL: Final = 300.0
"""Seconds; SQS and SNS have the same:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html
"""


class Repetitions:
    """Remembers deduplication ids for five minutes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def is_one(self, ordering: Ordering) -> bool:
        """Whether the like came before; if not, it is remembered."""
        now = self._clock.now()
        if self._until.get(ordering.deduplication_id, now) > now:
            return True
        self._until[ordering.deduplication_id] = now + _INTERVAL
        return False
