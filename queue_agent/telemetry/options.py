"""What the operator wants told, and to whom."""

from dataclasses import dataclass
from typing import Literal

TraceExport = Literal["off", "otlp", "xray", "console"]
MetricExport = Literal["off", "prometheus", "otlp", "both"]
OtlpProtocol = Literal["grpc", "http/protobuf"]


@dataclass(frozen=True)
class TelemetryOptions:
    """Sampling, headers, certificates and the rest are for OpenTelemetry's own ``OTEL_…`` names.

    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
    """

    traces: TraceExport = "off"
    metrics: MetricExport = "off"
    endpoint: str | None = None
    """Base address of the collector; None: what the SDK finds in the environment."""
    protocol: OtlpProtocol | None = None
    """None: told by the endpoint's port, gRPC unless it is 4318."""
    service: str = "queue-agent"
    """Name of the service where ``OTEL_SERVICE_NAME`` says none."""

    @property
    def by_http(self) -> bool:
        """Whether OTLP goes over HTTP and not gRPC."""
        if self.protocol is not None:
            return self.protocol == "http/protobuf"
        return self.endpoint is not None and self.endpoint.rstrip("/").endswith(":4318")
