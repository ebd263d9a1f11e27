"""What a deployment needs of its cloud, and what `set_up` says of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Resources:
    """What is to be there, by the addresses that settings hold, and how it is to be.

    On AWS names do as well as addresses; those that end in ``.fifo`` keep an order.
    """

    queue_url: str
    notification_topic: str
    bucket: str | None = None
    """None: none is made, which is possible on NATS."""
    dead_letter_queue_url: str | None = None
    lease: float = 60.0
    """Seconds that a delivered message stays hidden from others."""
    max_receives: int = 3
    """After so many deliveries a message goes to the dead letters."""
    replicas: int = 1
    """On NATS, servers that keep each stream: of several the majority has what was
    acknowledged."""
    stream_bytes: int | None = None
    """On NATS, the most that each stream of messages keeps; None: no limit is asked for."""
    bucket_bytes: int | None = None
    """The same of each of the bucket's two streams: that of small objects, and that of files."""
    job_topic: str | None = None
    """On AWS, where jobs are published to; on NATS it is the queue's stream."""
    priorities: tuple[str, ...] = ()
    """Those whose jobs have queues of their own beside the usual one (`wire.priorities`)."""
    fair: bool = True
    """On NATS, whether the tenants of its queues take turns; on AWS they always may."""
    runtime_name: str | None = None
    """On AWS, whose jobs the queue gets."""
    retention: int | None = None
    """On AWS, seconds for which the queue keeps a job."""
    region: str | None = None
    """On AWS, of what no address names a region of."""


@dataclass(frozen=True)
class SetupStep:
    """Something that was missing, or is not as it is wanted."""

    what: str
    outcome: Literal["made", "changed", "differs"]
    """In a dry run, what would become of it; what ``differs`` stays as it is."""
    detail: str = ""
    """How it differs."""

    def __str__(self) -> str:
        if self.outcome == "made":
            return self.what
        return f"{self.what} {self.outcome}: {self.detail}"


Tell = Callable[[SetupStep], None]
"""Is told of each step once it is done."""
