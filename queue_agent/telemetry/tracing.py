"""The current trace: spans for what is done, and what makes other programs continue it.

Whoever works on a message finds its tracer by the context, as log lines find the job's id.
Outside any message there is a tracer whose spans lead nowhere.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
from queue_agent.telemetry.propagation import W3C, continued_by
from queue_agent.wire.errors import QueueAgentError

_KINDS: Final = {
    "run": SpanKind.CLIENT,
    "notify": SpanKind.PRODUCER,
    "acknowledge": SpanKind.CLIENT,
}


@dataclass(frozen=True)
class Telemetry:
    """What an agent tells of itself; by default nothing, but traces still pass through."""

    tracer: Tracer = field(default_factory=trace.NoOpTracer)
    metrics: Metrics = field(default_factory=Metrics)
    propagator: TextMapPropagator = W3C
    queues: Mapping[str, str] = field(default_factory=dict)
    """What the cloud calls the queues, by their names here."""

    @contextmanager
    def processing(self, message: Message, *, asked: float) -> Iterator[Span]:
        """A block in which every span belongs to the trace of one message; its whole span.

        `asked`: when the message was asked for, by the monotonic clock.
        """
        start = _receive_start(message, asked)
        queue = self.queues.get(message.queue, "")
        whole = self.tracer.start_span(
            f"process {queue}",
            continued_by(message),
            SpanKind.CONSUMER,
            {
                **_attributes("process", queue),
                "messaging.message.id": message.id,
                "messaging.message.body.size": len(message.body),
                "queue_agent.message.attempt": message.receive_count,
            },
            start_time=start,
        )
        with OpenSpan(whole):
            self.tracer.start_span(
                "receive", None, SpanKind.CLIENT, _attributes("receive", queue), start_time=start
            ).end()
            token = _CURRENT.set(self)
            try:
                yield whole
            finally:
                _CURRENT.reset(token)


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


_CURRENT: ContextVar[Telemetry] = ContextVar("telemetry")
_NOWHERE: Final = Telemetry()


def span(name: str) -> AbstractContextManager[Span]:
    """A span of the message in hand, for a block."""
    tracer = _CURRENT.get(_NOWHERE).tracer
    if isinstance(tracer, trace.NoOpTracer):  # whose spans all are the one around them
        return nullcontext(trace.get_current_span())
    return OpenSpan(tracer.start_span(name, kind=_KINDS.get(name, SpanKind.INTERNAL)))


def carrier() -> dict[str, str]:
    """What makes another program continue the current trace: headers, or message attributes."""
    headers: dict[str, str] = {}
    _CURRENT.get(_NOWHERE).propagator.inject(headers)
    return headers


def mark_failed(span: Span, error_type: str, message: str) -> None:
    """Note on a span that what it stands for failed."""
    span.set_attribute("error.type", error_type)
    span.set_status(Status(StatusCode.ERROR, message))


def _attributes(operation: str, queue: str) -> Mapping[str, AttributeValue]:
    """https://opentelemetry.io/docs/specs/semconv/messaging/sqs/"""
    return {
        "messaging.system": "aws_sqs",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
    }


def _record(span: Span, error_type: str, message: str) -> None:
    span.add_event("exception", {"exception.type": error_type, "exception.message": message})
    mark_failed(span, error_type, message)


def _receive_start(message: Message, asked: float) -> int:
    """When waiting for this message began, in nanoseconds since the epoch.

    A long poll may have begun before there was anything to receive.
    """
    begun = time.time() - (time.monotonic() - asked)
    return int(max(begun, message.sent_at or 0.0) * 1e9)
