"""What the operator wants told, and to whom."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self, get_args

from queue_agent.wire.errors import SettingsError

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

    @classmethod
    def of_traces(cls, environment: Mapping[str, str], *, service: str) -> Self:
        """The options of a program that only traces, by the names that the agent reads.

        Raises:
            SettingsError: a value is none of those known.
        """
        endpoint = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None
        traces = environment.get("QUEUE_AGENT_TRACES") or ("otlp" if endpoint else "off")
        protocol = environment.get("OTEL_EXPORTER_OTLP_PROTOCOL") or None
        for known in get_args(TraceExport):
            if traces == known:
                return cls(known, "off", endpoint, _protocol(protocol), service)
        raise SettingsError(f"QUEUE_AGENT_TRACES: {traces!r} is not off, otlp, xray or console.")

    @property
    def by_http(self) -> bool:
        """Whether OTLP goes over HTTP and not gRPC."""
        if self.protocol is not None:
            return self.protocol == "http/protobuf"
        return self.endpoint is not None and self.endpoint.rstrip("/").endswith(":4318")


def _protocol(value: str | None) -> OtlpProtocol | None:
    for known in get_args(OtlpProtocol):
        if value == known:
            protocol: OtlpProtocol = known
            return protocol
    return None
