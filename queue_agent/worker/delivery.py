"""One message on its way through the agent: its lease, its slot, its job, its times."""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from opentelemetry import trace
from opentelemetry.trace import Span
from structlog.contextvars import bind_contextvars

from queue_agent.cloud import Message
from queue_agent.media.asset import Asset
from queue_agent.telemetry.tracing import Telemetry, mark_failed, span
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.job import Job
from queue_agent.wire.notification import LatestPreview, Notification, Timings
from queue_agent.wire.work import model_named
from queue_agent.worker.checkpoint_folder import CheckpointFolder
from queue_agent.worker.forecast import kind_of
from queue_agent.worker.interruption import Interruption
from queue_agent.worker.lease import Lease
from queue_agent.worker.slot import Slot


def _unseen(_: bytes) -> None:
    """Nobody asks for previews."""


def _unheard() -> None:
    """Nobody is told of them."""


@dataclass
class Delivery:
    """One object from receipt to acknowledgement; what happens on the way is told to it.

    Every step's time is taken here, and goes from here to the notification's timings, the
    metrics and the trace.
    """

    message: Message
    lease: Lease
    slot: Slot
    telemetry: Telemetry = field(default_factory=Telemetry)
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    asked: float | None = None
    """When the message was asked for, by the clock; None: when it was received."""
    left_to_dead_letters: bool = False
    """Whether the message is given back after the answer, for its queue to put it aside."""
    claim: str | None = None
    """The key of the job's claim, once it was made for this message."""
    show: Callable[[bytes], None] = _unseen
    """Takes an image of the work under way."""
    preview: LatestPreview | None = None
    """The latest such image that was written."""
    preview_written: Callable[[], None] = _unheard
    """Called whenever there is another."""
    given_back: bool = False
    """Whether its work ends here, and another agent is to go on with it."""
    checkpoint: bytes | None = None
    """What runs of the job have done, here or in an attempt before."""
    checkpoints: CheckpointFolder | None = None
    """Where such are kept."""
    late: bool = False
    """Whether the job is expected to miss its deadline."""
    verdict: QueueAgentError | None = None
    """Why the job ends without images, once that is known."""
    inputs: Sequence[Asset] = ()
    """The references' assets, where they are wanted after the run."""
    interruption: Interruption = field(default_factory=Interruption, init=False)
    _job: Job | None = field(default=None, init=False)
    _span: Span = field(default=trace.INVALID_SPAN, init=False)
    _seconds: dict[str, float] = field(default_factory=dict, init=False)
    _ran: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._received = self.clock()
        self._queued = max(0.0, self.now() - self.message.sent_at) if self.message.sent_at else 0.0

    @property
    def number(self) -> int:
        """How often the message was delivered, this time included."""
        return self.message.receive_count

    @property
    def is_parsed(self) -> bool:
        return self._job is not None

    @property
    def job(self) -> Job:
        """What the message asks for; it must have been parsed."""
        if self._job is None:
            raise RuntimeError("the message has not been parsed")
        return self._job

    @property
    def timings(self) -> Timings:
        """Seconds spent so far."""
        known = {name: round(self._seconds.get(name, 0.0), 4) for name in Timings.model_fields}
        return Timings(**{**known, "queued": round(self._queued, 4)})

    @property
    def gpu_seconds(self) -> float | None:
        """Of the runtime's time, what this delivery has used; None where it never ran."""
        return round(self.slot.used, 4) if self.slot.used else None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Keep the lease and the trace for the block; cancelled, the message is given back."""
        bind_contextvars(message_id=self.message.id, attempt=self.number)
        if self.message.queue:
            bind_contextvars(queue=self.message.queue)
        asked = self._received if self.asked is None else self.asked
        with self.telemetry.processing(self.message, asked=asked) as self._span:
            async with self.lease.held():
                yield

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A span, and a time, for the block."""
        start = self.clock()
        try:
            with span(name):
                yield
        finally:
            self.spent(**{name: self.clock() - start})

    def spent(self, **steps: float) -> None:
        """Count seconds to steps."""
        task_type = self._job.task_type if self._job else None
        for name, seconds in steps.items():
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds
            self.telemetry.metrics.step(name, seconds, task_type)

    def parsed(self, job: Job) -> None:
        """The message holds this job."""
        self._job = job
        self.slot.kind = kind_of(job)
        deadline = job.metadata.deadline
        self.slot.deadline = None if deadline is None else deadline.timestamp()
        self.slot.group = self.message.group
        self.slot.tenant = job.metadata.tenant or self.message.tenant
        bind_contextvars(job_id=job.id)
        self._span.set_attributes(
            {"queue_agent.job.id": job.id, "queue_agent.job.task_type": job.task_type}
        )

    def fetched(self, size: int) -> None:
        """The job's inputs have so many bytes together."""
        self.telemetry.metrics.fetched(size)

    def running(self) -> None:
        """The runtime has nothing left to do before this job."""
        if not self._ran:
            self._ran = True
            held = self.clock() - self._received
            self.telemetry.metrics.began(model_named(self.job), held)
        trace.get_current_span().add_event("running")

    def released(self, error: QueueAgentError) -> None:
        """The attempt failed, and the message is given back."""
        self.telemetry.metrics.released(error.type)
        mark_failed(self._span, error.type, error.message)

    def quarantined(self) -> None:
        """The message was put aside in the bucket."""
        self.telemetry.metrics.quarantined()

    def ignored(self, kind: str) -> None:
        """The message asks for nothing; what is left is to acknowledge it."""
        self.slot.answered()
        self.telemetry.metrics.ignored(kind)
        self._span.set_attribute("queue_agent.message.kind", kind)

    def moved(self, error: QueueAgentError) -> None:
        """Another queue has the job, and answers it; what is left is to acknowledge it."""
        self.slot.answered()
        self.telemetry.metrics.moved_on_demand()
        self._span.set_attribute("queue_agent.message.kind", error.type)

    def put_off(self, error: QueueAgentError) -> None:
        """The job is paused, and its message comes again; nothing is left."""
        self.telemetry.metrics.put_off()
        self._span.set_attribute("queue_agent.message.kind", error.type)

    def answered(self, notification: Notification) -> None:
        """Subscribers know how the job ended; what is left is to acknowledge the message."""
        self.slot.answered()
        error, metrics = notification.error, self.telemetry.metrics
        if not notification.redelivered:
            metrics.stored(sum(image.bytes for image in notification.images))
        sent = self.message.sent_at
        metrics.answered(
            notification.status,
            self._job.task_type if self._job else None,
            error_type=error.type if error else None,
            since_published=None if sent is None else max(0.0, self.now() - sent),
        )
        if self.left_to_dead_letters:
            metrics.left_to_dead_letters()
        self._span.set_attribute("queue_agent.job.status", notification.status)
        if error is not None:
            mark_failed(self._span, error.type, error.message)
