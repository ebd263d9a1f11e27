"""One delivery of one job, and how long each step of it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from queue_agent.cloud import Message
from queue_agent.telemetry import current_trail, span
from queue_agent.wire.job import Job
from queue_agent.wire.notification import Timings


@dataclass
class Attempt:
    """What the journey knows of the job in hand."""

    message: Message
    job: Job
    queued: float = 0.0
    """Seconds from publication to receipt."""
    _spent: dict[str, float] = field(default_factory=dict)

    @property
    def number(self) -> int:
        return self.message.receive_count

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Count the block's duration to a step of `Timings`."""
        start = time.monotonic()
        try:
            with span(step):
                yield
        finally:
            self.spent(**{step: time.monotonic() - start})

    def spent(self, **steps: float) -> None:
        """Count seconds to steps of `Timings`."""
        for step, seconds in steps.items():
            self._spent[step] = self._spent.get(step, 0.0) + seconds
            current_trail().spent(step, seconds)

    @property
    def timings(self) -> Timings:
        spent = {step: round(seconds, 4) for step, seconds in self._spent.items()}
        return Timings(queued=round(self.queued, 4), **spent)
