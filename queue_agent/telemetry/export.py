"""OpenTelemetry's SDK, set up as the operator wants it; imported only where something is told.

Nothing here can hold up a job: spans go into a bounded queue that a thread empties, and what a
collector does not take is dropped.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import NoOpTracer, Tracer

from queue_agent.telemetry.metrics import Metrics
from queue_agent.telemetry.options import TelemetryOptions
from queue_agent.telemetry.propagation import W3C
from queue_agent.telemetry.tracing import Telemetry
from queue_agent.wire.errors import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SpanExporter

Exposition = Callable[[str], tuple[bytes, str]]
"""From an ``Accept`` header to a page of metrics and its content type."""

_LAST_EXPORT: Final = 3.0
"""Seconds that a collector gets for what is left at the end."""
_NAME: Final = "queue_agent"
_DISTRIBUTION: Final = "sd-queue-agent"


@dataclass
class Exports:
    """What was set up, and how it is ended."""

    telemetry: Telemetry = field(default_factory=Telemetry)
    exposition: Exposition | None = None
    """The ``/metrics`` page; None: there is none."""


@asynccontextmanager
async def exporting(
    options: TelemetryOptions,
    *,
    runtime: str = "",
    task_types: Collection[str] = (),
    queues: Mapping[str, str] | None = None,
) -> AsyncIterator[Exports]:
    """Export traces and metrics while the block runs, and what is left of them at its end.

    Raises:
        SettingsError: an exporter is not installed.
    """
    endings: list[Callable[[], None]] = []
    try:
        tracer, propagator = _traces(options, endings)
        metrics, exposition = _metrics(options, endings, runtime, task_types)
        yield Exports(Telemetry(tracer, metrics, propagator, queues or {}), exposition)
    finally:
        await _end(endings)


def _traces(
    options: TelemetryOptions, endings: list[Callable[[], None]]
) -> tuple[Tracer, TextMapPropagator]:
    if options.traces == "off":
        return NoOpTracer(), W3C
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    propagator: TextMapPropagator = W3C
    id_generator = None
    if options.traces == "xray":
        from opentelemetry.propagators.aws import AwsXRayPropagator  # noqa: PLC0415
        from opentelemetry.propagators.composite import CompositePropagator  # noqa: PLC0415
        from opentelemetry.sdk.extension.aws.trace import AwsXRayIdGenerator  # noqa: PLC0415

        id_generator = AwsXRayIdGenerator()
        propagator = CompositePropagator([W3C, AwsXRayPropagator()])
    provider = TracerProvider(
        resource=_resource(options), shutdown_on_exit=False, id_generator=id_generator
    )
    provider.add_span_processor(BatchSpanProcessor(_span_exporter(options)))
    endings.append(provider.shutdown)
    return provider.get_tracer(_NAME, version(_DISTRIBUTION)), propagator


def _metrics(
    options: TelemetryOptions,
    endings: list[Callable[[], None]],
    runtime: str,
    task_types: Collection[str],
) -> tuple[Metrics, Exposition | None]:
    if options.metrics == "off":
        return Metrics(), None
    from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider  # noqa: PLC0415

    readers: list[MetricReader] = []
    exposition = None
    if options.metrics in {"prometheus", "both"}:
        reader, exposition = _prometheus()
        readers.append(reader)
    if options.metrics in {"otlp", "both"}:
        readers.append(_otlp_metrics(options))
    provider = MeterProvider(
        readers,
        resource=_resource(options),
        exemplar_filter=AlwaysOffExemplarFilter(),
        shutdown_on_exit=False,
    )
    endings.append(provider.shutdown)
    meter = provider.get_meter(_NAME, version(_DISTRIBUTION))
    return Metrics(meter, runtime=runtime, task_types=task_types), exposition


def _prometheus() -> "tuple[MetricReader, Exposition]":
    from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415
    from prometheus_client import CollectorRegistry, ProcessCollector  # noqa: PLC0415
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    reader = PrometheusMetricReader(
        disable_target_info=True, scope_info_enabled=False, registry=registry
    )

    def exposition(accept: str) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    return reader, exposition


def _span_exporter(options: TelemetryOptions) -> "SpanExporter":
    if options.traces == "console":
        import sys  # noqa: PLC0415

        from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415

        return ConsoleSpanExporter(out=sys.stderr)
    try:
        if options.by_http:
            from opentelemetry.exporter.otlp.proto.http import trace_exporter as http  # noqa: PLC0415

            return http.OTLPSpanExporter(_address(options, "v1/traces"))
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc  # noqa: PLC0415
    except ImportError as error:
        raise _not_installed("QUEUE_AGENT_TRACES") from error
    return grpc.OTLPSpanExporter(options.endpoint)


def _otlp_metrics(options: TelemetryOptions) -> "MetricReader":
    from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415
        MetricExporter,
        PeriodicExportingMetricReader,
    )

    exporter: MetricExporter
    try:
        if options.by_http:
            from opentelemetry.exporter.otlp.proto.http import metric_exporter as http  # noqa: PLC0415

            exporter = http.OTLPMetricExporter(_address(options, "v1/metrics"))
        else:
            from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc  # noqa: PLC0415

            exporter = grpc.OTLPMetricExporter(options.endpoint)
    except ImportError as error:
        raise _not_installed("QUEUE_AGENT_METRICS") from error
    return PeriodicExportingMetricReader(exporter)


def _address(options: TelemetryOptions, path: str) -> str | None:
    return f"{options.endpoint.rstrip('/')}/{path}" if options.endpoint else None


def _not_installed(setting: str) -> SettingsError:
    return SettingsError(
        f"{setting}: the exporter is not installed: pip install 'sd-queue-agent[telemetry]'"
    )


def _resource(options: TelemetryOptions) -> "Resource":
    """Who speaks: https://opentelemetry.io/docs/specs/semconv/resource/"""
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource  # noqa: PLC0415

    found = Resource.create({SERVICE_VERSION: version(_DISTRIBUTION)})
    if str(found.attributes[SERVICE_NAME]).startswith("unknown_service"):
        found = found.merge(Resource({SERVICE_NAME: options.service}))
    return found


async def _end(endings: list[Callable[[], None]]) -> None:
    """End the exports, or leave them to their fate: a collector may hang."""
    threads = [threading.Thread(target=ending, daemon=True) for ending in endings]
    for thread in threads:
        thread.start()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _LAST_EXPORT
    for thread in threads:
        await asyncio.to_thread(thread.join, max(0.0, deadline - loop.time()))
