"""Which settings turn what on, and what off costs."""

import pytest

from queue_agent.cli.options import telemetry_options
from queue_agent.settings.agent import Settings
from queue_agent.settings.tracing import TracingSettings
from queue_agent.telemetry.options import TelemetryOptions
from queue_agent.wire.errors import SettingsError

NEEDED = {
    "QUEUE_AGENT_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/1/jobs",
    "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:us-east-1:1:results",
    "QUEUE_AGENT_BUCKET": "results",
    "QUEUE_AGENT_RUNTIME": "webui",
}
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


def options(**environment: str) -> TelemetryOptions:
    return telemetry_options(Settings.load({**NEEDED, **environment}))


@pytest.mark.parametrize(
    ("environment", "traces"),
    [
        ({}, "off"),
        (ENDPOINT, "otlp"),
        ({**ENDPOINT, "QUEUE_AGENT_TRACES": "off"}, "off"),
        ({"QUEUE_AGENT_TRACES": "console"}, "console"),
        ({"QUEUE_AGENT_TRACES": "xray"}, "xray"),
        ({"QUEUE_AGENT_TRACES": "xray", "DISABLE_XRAY": "false"}, "xray"),
        ({"QUEUE_AGENT_TRACES": "xray", "DISABLE_XRAY": "true"}, "off"),
        ({"QUEUE_AGENT_TRACES": "otlp", "DISABLE_XRAY": "true"}, "otlp"),
        ({"DISABLE_XRAY": "false"}, "off"),
    ],
)
def test_traces_go_where_the_settings_say(environment: dict[str, str], traces: str) -> None:
    assert options(**environment).traces == traces


@pytest.mark.parametrize(
    ("environment", "metrics"),
    [
        ({}, "prometheus"),
        ({"QUEUE_AGENT_HEALTH_PORT": "0"}, "off"),
        ({"QUEUE_AGENT_METRICS": "both"}, "both"),
        ({"QUEUE_AGENT_METRICS": "both", "QUEUE_AGENT_HEALTH_PORT": "0"}, "otlp"),
        ({"QUEUE_AGENT_METRICS": "otlp", "QUEUE_AGENT_HEALTH_PORT": "0"}, "otlp"),
    ],
)
def test_metrics_are_not_kept_for_a_page_that_nobody_can_ask_for(
    environment: dict[str, str], metrics: str
) -> None:
    assert options(**environment).metrics == metrics


@pytest.mark.parametrize(
    ("endpoint", "protocol", "by_http"),
    [
        ("http://127.0.0.1:4318", None, True),
        ("http://127.0.0.1:4318/", None, True),
        ("http://127.0.0.1:4317", None, False),
        (None, None, False),
        ("http://127.0.0.1:4318", "grpc", False),
        ("https://otlp.example.com", "http/protobuf", True),
    ],
)
def test_the_protocol_is_told_by_the_setting_else_by_the_port(
    endpoint: str | None, protocol: str | None, by_http: bool
) -> None:
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    environment = {name: value for name, value in given.items() if value is not None}
    assert options(**environment).by_http is by_http


def test_a_program_that_only_traces_reads_the_same_names() -> None:
    read = TracingSettings.load(ENDPOINT).tracing_options("runtime")
    assert (read.traces, read.metrics, read.by_http) == ("otlp", "off", True)
    assert read.service == "runtime"
    assert TracingSettings.load({}).tracing_options("runtime").traces == "off"
    with pytest.raises(SettingsError, match="QUEUE_AGENT_TRACES"):
        TracingSettings.load({"QUEUE_AGENT_TRACES": "zipkin"})
