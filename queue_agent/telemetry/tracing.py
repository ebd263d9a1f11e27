"""What one delivery of a message leaves behind: the spans of its trace, and figures.

Whoever works on the message finds its trail by the context (`current_trail`), as log lines find
the job's id. Outside any journey there is a trail that leads nowhere.
"""

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from queue_agent.cloud import Message
from queue_agent.telemetry.metrics import Metrics
from queue_agent.telemetry.model import model_of
from queue_agent.telemetry.propagation import W3C, continued_by
from queue_agent.wire.errors import QueueAgentError, Unavailable
from queue_agent.wire.job import Job
from queue_agent.wire.notification import Notification

_KINDS: Final = {
    "run": SpanKind.CLIENT,
    "notify": SpanKind.PRODUCER,
    "acknowledge": SpanKind.CLIENT,
}


@dataclass
class Trail:
    """The trail of one message."""

    tracer: Tracer = field(default_factory=trace.NoOpTracer)
    metrics: Metrics = field(default_factory=Metrics)
    propagator: TextMapPropagator = W3C
    message: Message | None = None
    span: Span = trace.INVALID_SPAN
    """The span of the whole journey."""
    _task_type: str | None = None
    _began: bool = False
    _received: float = field(default_factory=time.monotonic)

    def opened(self, name: str) -> "OpenSpan":
        """A span below the current one, for a block."""
        return OpenSpan(self.tracer.start_span(name, kind=_KINDS.get(name, SpanKind.INTERNAL)))

    def spent(self, step: str, seconds: float) -> None:
        """A step took so long."""
        self.metrics.step(step, seconds, self._task_type)

    def parsed(self, job: Job) -> None:
        """The message holds this job."""
        self._task_type = job.task_type
        self.span.set_attributes(
            {"queue_agent.job.id": job.id, "queue_agent.job.task_type": job.task_type}
        )

    def fetched(self, size: int) -> None:
        """The job's inputs have so many bytes together."""
        self.metrics.fetched(size)

    def running(self, job: Job) -> None:
        """The runtime has nothing left to do before this job."""
        if not self._began:
            self._began = True
            self.metrics.began(model_of(job), time.monotonic() - self._received)
        trace.get_current_span().add_event("running")

    def released(self, error: Unavailable) -> None:
        """The attempt failed, and the message is given back."""
        self.metrics.released(error.type)
        _mark(self.span, error.type, error.message)

    def answered(self, notification: Notification) -> None:
        """Subscribers know how the job ended."""
        error = notification.error
        if not notification.redelivered:
            self.metrics.stored(sum(image.bytes for image in notification.images))
        sent = self.message.sent_at if self.message else None
        self.metrics.answered(
            notification.status,
            self._task_type,
            error_type=error.type if error else None,
            since_published=None if sent is None else max(0.0, time.time() - sent),
        )
        self.span.set_attribute("queue_agent.job.status", notification.status)
        if error is not None:
            _mark(self.span, error.type, error.message)


@dataclass(frozen=True)
class Telemetry:
    """What an agent tells of itself; by default nothing, but traces still pass through."""

    tracer: Tracer = field(default_factory=trace.NoOpTracer)
    metrics: Metrics = field(default_factory=Metrics)
    propagator: TextMapPropagator = W3C
    queue: str = ""
    """Name of the queue."""

    @asynccontextmanager
    async def journey(self, message: Message, *, asked: float) -> AsyncIterator[Trail]:
        """A block in which everything belongs to the trail of one message.

        `asked`: when the message was asked for, by the monotonic clock.
        """
        start = _receive_start(message, asked)
        span = self.tracer.start_span(
            f"process {self.queue}",
            continued_by(message),
            SpanKind.CONSUMER,
            {
                **self._attributes("process"),
                "messaging.message.id": message.id,
                "messaging.message.body.size": len(message.body),
                "queue_agent.message.attempt": message.receive_count,
            },
            start_time=start,
        )
        trail = Trail(self.tracer, self.metrics, self.propagator, message, span)
        with OpenSpan(span):
            self.tracer.start_span(
                "receive", None, SpanKind.CLIENT, self._attributes("receive"), start_time=start
            ).end()
            token = _CURRENT.set(trail)
            try:
                yield trail
            finally:
                _CURRENT.reset(token)

    def _attributes(self, operation: str) -> Mapping[str, AttributeValue]:
        """https://opentelemetry.io/docs/specs/semconv/messaging/sqs/"""
        return {
            "messaging.system": "aws_sqs",
            "messaging.operation.name": operation,
            "messaging.operation.type": operation,
            "messaging.destination.name": self.queue,
        }


class OpenSpan(AbstractContextManager[Span]):
    """The current span for a block; errors that leave the block are noted on it.

    The stack is left out: a foreign exception in it may quote an address with its secrets.
    """

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Span:
        self._token = attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        detach(self._token)
        if self._span.is_recording():
            if isinstance(exc, QueueAgentError):
                _record(self._span, exc.type, exc.message)
            elif isinstance(exc, Exception):
                _record(self._span, type(exc).__name__, "")
            elif exc is not None:
                self._span.add_event("interrupted")
        self._span.end()


_CURRENT: ContextVar[Trail] = ContextVar("trail")
_NOWHERE: Final = Trail()


def current_trail() -> Trail:
    """The trail of the message in hand."""
    return _CURRENT.get(_NOWHERE)


def span(name: str) -> OpenSpan:
    """A span of the message in hand, for a block."""
    return current_trail().opened(name)


@contextmanager
def step(name: str) -> Iterator[None]:
    """A span of the message in hand, whose duration is also measured."""
    trail = current_trail()
    start = time.monotonic()
    try:
        with trail.opened(name):
            yield
    finally:
        trail.spent(name, time.monotonic() - start)


def carrier() -> dict[str, str]:
    """What makes another program continue the current trace: headers, or message attributes."""
    headers: dict[str, str] = {}
    current_trail().propagator.inject(headers)
    return headers


def _record(span: Span, error_type: str, message: str) -> None:
    span.add_event("exception", {"exception.type": error_type, "exception.message": message})
    _mark(span, error_type, message)


def _mark(span: Span, error_type: str, message: str) -> None:
    span.set_attribute("error.type", error_type)
    span.set_status(Status(StatusCode.ERROR, message))


def _receive_start(message: Message, asked: float) -> int:
    """When waiting for this message began, in nanoseconds since the epoch.

    A long poll may have begun before there was anything to receive.
    """
    begun = time.time() - (time.monotonic() - asked)
    return int(max(begun, message.sent_at or 0.0) * 1e9)
