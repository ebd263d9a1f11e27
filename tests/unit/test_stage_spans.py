"""The spans that a runtime makes of a job's stages."""

import threading

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracer, Tracer, format_span_id, format_trace_id

from queue_agent.telemetry import StageSpans

HEADERS = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Tracer:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("runtime")


def ended(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def test_stages_follow_each_other_below_the_request(
    tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    spans = StageSpans.of_request(tracer, HEADERS, "generate")
    for stage in ("queue", "encode", "steps", "decode"):
        thread = threading.Thread(target=spans.enter, args=[stage])
        thread.start()
        thread.join()
    spans.end()
    found = ended(exporter)
    assert list(found) == ["queue", "encode", "steps", "decode", "generate"]
    whole = found.pop("generate")
    assert whole.parent is not None
    assert whole.context is not None
    assert format_span_id(whole.parent.span_id) == "b" * 16
    for span in found.values():
        assert span.context is not None
        assert span.parent is not None
        assert format_trace_id(span.context.trace_id) == "a" * 32
        assert span.parent.span_id == whole.context.span_id
        assert span.status.is_unset


def test_a_failure_marks_the_stage_it_happened_in_and_the_whole(
    tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    spans = StageSpans.of_request(tracer, {}, "generate")
    spans.enter("queue")
    spans.enter("steps")
    spans.end(error_type="out_of_memory", message="no room")
    spans.enter("decode")
    spans.end()
    found = ended(exporter)
    failed = {name for name, span in found.items() if not span.status.is_unset}
    assert failed == {"steps", "generate"}
    assert set(found) == {"queue", "steps", "generate"}


def test_without_a_tracer_nothing_happens() -> None:
    spans = StageSpans.of_request(NoOpTracer(), HEADERS, "generate")
    spans.enter("queue")
    spans.end()
