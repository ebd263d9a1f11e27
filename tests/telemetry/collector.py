"""An OpenTelemetry collector as far as tests need one: it keeps the spans it is sent."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.proto.trace.v1.trace_pb2 import Status as SpanStatus

from harness import PATIENCE
from queue_agent.testing.process import HOST

T = TypeVar("T")


@dataclass(frozen=True)
class Seen:
    """A span, and the service that made it."""

    service: str
    span: Span

    @property
    def name(self) -> str:
        return str(self.span.name)

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def id(self) -> str:
        return self.span.span_id.hex()

    @property
    def parent(self) -> str:
        return self.span.parent_span_id.hex()

    @property
    def failed(self) -> bool:
        return bool(self.span.status.code == SpanStatus.STATUS_CODE_ERROR)

    @property
    def events(self) -> list[str]:
        return [str(event.name) for event in self.span.events]

    @property
    def attributes(self) -> dict[str, str | int]:
        return {
            pair.key: pair.value.string_value or pair.value.int_value
            for pair in self.span.attributes
        }


@dataclass
class Collector:
    """What was sent so far; `url` is the base address for OTLP over HTTP."""

    url: str = ""
    spans: list[Seen] = field(default_factory=list)
    metrics: set[str] = field(default_factory=set)
    _told: asyncio.Condition = field(default_factory=asyncio.Condition)

    def environment(self, *, traces: str = "otlp") -> dict[str, str]:
        """The settings that send a program's spans here, soon."""
        return {
            "QUEUE_AGENT_TRACES": traces,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
        }

    async def trace_with(self, *names: str) -> list[Seen]:
        """The spans of the first trace that has spans of all these names."""

        def look() -> list[Seen] | None:
            for trace_id in {seen.trace_id for seen in self.spans}:
                trace = [seen for seen in self.spans if seen.trace_id == trace_id]
                if set(names) <= {seen.name for seen in trace}:
                    return trace
            return None

        return await self.until(look, what=f"a trace with {names}")

    async def until(self, look: Callable[[], T | None], *, what: str) -> T:
        """Wait until something is seen."""
        try:
            async with asyncio.timeout(PATIENCE), self._told:
                while not (found := look()):
                    await self._told.wait()
                return found
        except TimeoutError:
            seen = sorted((seen.trace_id[:6], seen.service, seen.name) for seen in self.spans)
            raise AssertionError(f"not seen in {PATIENCE} s: {what}; seen: {seen}") from None

    async def take_traces(self, request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest.FromString(await request.read())
        async with self._told:
            for resource in message.resource_spans:
                names = [
                    a.value.string_value
                    for a in resource.resource.attributes
                    if a.key == "service.name"
                ]
                for scope in resource.scope_spans:
                    self.spans.extend(Seen(names[0], span) for span in scope.spans)
            self._told.notify_all()
        return web.Response(content_type="application/x-protobuf")

    async def take_metrics(self, request: web.Request) -> web.Response:
        message = ExportMetricsServiceRequest.FromString(await request.read())
        async with self._told:
            for resource in message.resource_metrics:
                for scope in resource.scope_metrics:
                    self.metrics.update(metric.name for metric in scope.metrics)
            self._told.notify_all()
        return web.Response(content_type="application/x-protobuf")


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector that listens while the block runs."""
    collector = Collector()
    application = web.Application(client_max_size=64 * 2**20)
    application.add_routes(
        [
            web.post("/v1/traces", collector.take_traces),
            web.post("/v1/metrics", collector.take_metrics),
        ]
    )
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, 0)
        await site.start()
        collector.url = f"http://{HOST}:{runner.addresses[0][1]}"
        yield collector
    finally:
        await runner.cleanup()
