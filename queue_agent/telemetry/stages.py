"""The spans of a job inside a runtime: one for its request, and one below for each stage."""

import threading
from collections.abc import Mapping
from typing import Self

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from queue_agent.telemetry.propagation import continued


class StageSpans:
    """Spans that follow each other without a gap; any thread may say that a stage begins.

    >>> spans = StageSpans.of_request(tracer, request.headers, "generate")
    >>> spans.enter("queue")
    >>> spans.enter("steps")
    >>> spans.end()
    """

    def __init__(self, tracer: Tracer, whole: Span) -> None:
        self._tracer = tracer
        self._whole = whole
        self._below = trace.set_span_in_context(whole)
        self._stage: Span | None = None
        self._lock = threading.Lock()

    @classmethod
    def of_request(cls, tracer: Tracer, headers: Mapping[str, str], name: str) -> Self:
        """Spans in the trace that a request's headers continue, or in one of their own."""
        return cls(tracer, tracer.start_span(name, continued(headers), SpanKind.SERVER))

    def enter(self, stage: str) -> None:
        """The stage before ends, and this one begins; after the end, nothing happens."""
        with self._lock:
            if self._whole.is_recording():
                self._leave()
                self._stage = self._tracer.start_span(stage, self._below)

    def end(self, *, error_type: str | None = None, message: str = "") -> None:
        """The work is done, or has failed in the stage it is at; only the first end counts."""
        with self._lock:
            if error_type is not None:
                for span in filter(None, (self._stage, self._whole)):
                    span.set_attribute("error.type", error_type)
                    span.set_status(Status(StatusCode.ERROR, message))
            self._leave()
            if self._whole.is_recording():
                self._whole.end()

    def _leave(self) -> None:
        if self._stage is not None:
            self._stage.end()
            self._stage = None
