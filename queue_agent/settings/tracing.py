"""Where traces go: settings of the agent and of the bundled runtime."""

from typing import Annotated

from pydantic import Field

from queue_agent.settings.reader import Reader, setting
from queue_agent.telemetry.options import OtlpProtocol, TelemetryOptions, TraceExport


class TracingSettings(Reader):
    """Of programs that trace; publishers and subscribers bring a tracer of their own."""

    traces: TraceExport | None = setting(
        "TRACES",
        default=None,
        description="off, otlp, xray (otlp with X-Ray's ids, for a collector that sends there) or "
        "console; else otlp where OTEL_EXPORTER_OTLP_ENDPOINT is set.",
    )
    disable_xray: bool = setting(
        "DISABLE_XRAY", "DISABLE_XRAY", default=False, description="Turns `xray` off again."
    )
    otlp_endpoint: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = setting(
        "OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        default=None,
        description="Base address of the OpenTelemetry collector, such as http://127.0.0.1:4318.",
    )
    otlp_protocol: OtlpProtocol | None = setting(
        "OTLP_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        default=None,
        description="grpc or http/protobuf; else http/protobuf on port 4318, and grpc elsewhere.",
    )

    def tracing_options(self, service: str) -> TelemetryOptions:
        """For a program that only traces; `service` is what its spans are said to come from."""
        traces = self.traces or ("otlp" if self.otlp_endpoint else "off")
        if traces == "xray" and self.disable_xray:
            traces = "off"
        return TelemetryOptions(
            traces, "off", self.otlp_endpoint, self.otlp_protocol, service=service
        )
