"""Traces, metrics, probes and logs: what a process tells of itself (docs/observability.md).

For subscribers that go on with a job's trace, and for runtimes that tell of their stages. What
the project's own processes use beside it is in the modules: `tracing` and `metrics` are told,
`export` has OpenTelemetry's SDK and exporters, and only a process's edge imports it.
"""

from queue_agent.telemetry.propagation import continued, traceparent
from queue_agent.telemetry.stages import StageSpans

__all__ = ["StageSpans", "continued", "traceparent"]
