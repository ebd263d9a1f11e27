"""Traces, metrics, probes and logs: what a process tells of itself (docs/observability.md).

Only OpenTelemetry's API is imported here. Its SDK and exporters are in
`queue_agent.telemetry.export`, which the process's edge imports where something is exported.
"""

from queue_agent.telemetry.gpu import GpuClock
from queue_agent.telemetry.metrics import Metrics
from queue_agent.telemetry.options import TelemetryOptions
from queue_agent.telemetry.propagation import continued, publishing, traceparent
from queue_agent.telemetry.stages import StageSpans
from queue_agent.telemetry.tracing import Telemetry, carrier, mark_failed, span

__all__ = [
    "GpuClock",
    "Metrics",
    "StageSpans",
    "Telemetry",
    "TelemetryOptions",
    "carrier",
    "continued",
    "mark_failed",
    "publishing",
    "span",
    "traceparent",
]
