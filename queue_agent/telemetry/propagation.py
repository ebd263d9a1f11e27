"""How a trace goes on from one program to the next: by W3C's headers, or those of X-Ray.

https://www.w3.org/TR/trace-context/
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from queue_agent.cloud import Message
from queue_agent.wire.errors import Malformed
from queue_agent.wire.job import open_envelope

W3C: Final = TraceContextTextMapPropagator()

_XRAY_ATTRIBUTE: Final = "AWSTraceHeader"
_XRAY_HEADER: Final = "X-Amzn-Trace-Id"


def continued(attributes: Mapping[str, str]) -> Context:
    """The trace that message attributes or headers continue; an empty context if none.

    ``traceparent`` (and ``tracestate``) win over ``AWSTraceHeader``; what cannot be read is
    ignored.
    """
    lowered = {name.lower(): value for name, value in attributes.items()}
    context = W3C.extract(lowered, Context())
    if not context and _XRAY_ATTRIBUTE in attributes:
        from opentelemetry.propagators.aws import AwsXRayPropagator  # noqa: PLC0415  seldom needed

        header = {_XRAY_HEADER: attributes[_XRAY_ATTRIBUTE]}
        context = AwsXRayPropagator().extract(header, Context())
    return context


def continued_by(message: Message) -> Context:
    """The trace that a message continues; its attributes may lie in an SNS envelope."""
    attributes = message.attributes
    if '"traceparent"' in message.body:
        try:
            attributes = open_envelope(message.body, attributes).attributes
        except Malformed:
            return Context()  # its attributes are as doubtful as the rest
    return continued(attributes)


def traceparent() -> str | None:
    """The current trace as a ``traceparent``; None outside any trace."""
    headers: dict[str, str] = {}
    W3C.inject(headers)
    return headers.get("traceparent")


@contextmanager
def publishing(destination: str, job_id: str, parent: str | None = None) -> Iterator[str | None]:
    """A span for publishing a job; its ``traceparent``, which goes with the message.

    The span belongs to the program's own tracer provider, if it has set one up
    (`opentelemetry.trace.set_tracer_provider`). Without one there is no span, and the `parent`,
    else the trace under way, is passed on as it is.
    """
    with trace.get_tracer("queue_agent.client").start_as_current_span(
        f"publish {destination}",
        continued({"traceparent": parent}) if parent else None,
        kind=trace.SpanKind.PRODUCER,
        attributes={
            "messaging.system": "aws.sns",
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "messaging.destination.name": destination,
            "queue_agent.job.id": job_id,
        },
    ) as span:
        recorded = span.get_span_context().is_valid
        yield traceparent() if recorded else parent or traceparent()
