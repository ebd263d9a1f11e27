"""What the operator and the queue prescribe."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_LONGEST_DELAY: Final = 900.0
_MOST_DOUBLINGS: Final = 20


@dataclass(frozen=True)
class Policy:
    """How messages are dealt with. Durations are in seconds."""

    runtime_name: str
    lease: float
    max_receives: int
    has_dead_letter_queue: bool
    run_timeout: float
    store_patience: float
    """How long finished work is kept and retried while the cloud fails."""
    retry_delay: float
    hold_limit: float
    """A message that the runtime has no place for is given back after so long."""
    progress_interval: float | None = None
    """None: no `running` notifications."""
    presign: float = 0.0
    spread: Callable[[float, float], float] = random.uniform
    """A random number between two; spreads delays, so that no messages come back together."""

    def is_last(self, receive_count: int) -> bool:
        """Whether the queue allows no delivery after this one."""
        return receive_count >= self.max_receives

    def is_exhausted(self, receive_count: int) -> bool:
        """Whether this delivery is one more than allowed: no attempt came to an end."""
        return receive_count > self.max_receives

    def hold_limit_of(self, receive_count: int) -> float | None:
        """How long a message may wait for the runtime; the last delivery waits for ever."""
        return None if self.is_last(receive_count) else self.hold_limit

    def delay(self, receive_count: int) -> float:
        """Seconds until the next attempt, doubled with each."""
        doubled = self.retry_delay * 2.0 ** min(receive_count - 1, _MOST_DOUBLINGS)
        return min(doubled, _LONGEST_DELAY) * self.spread(0.5, 1.0)
