"""Where things lie in the bucket: one list of what is taken, and everything else is results."""

from collections.abc import Callable

import pytest

from queue_agent.client import Client
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.settings.agent import Settings
from queue_agent.settings.client import ClientSettings
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.wire import layout
from queue_agent.wire.errors import SettingsError
from queue_agent.wire.job import Job, Metadata

BUCKET = {
    "QUEUE_AGENT_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/jobs",
    "QUEUE_AGENT_JOB_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:jobs",
    "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:notifications",
    "QUEUE_AGENT_BUCKET": "results",
    "QUEUE_AGENT_RUNTIME": "webui",
}


def test_what_is_no_result_lies_under_a_segment_that_no_prefix_begins_with() -> None:
    keys = (
        layout.cancel_marker("a"),
        layout.input_key("0" * 64, "image/png"),
        layout.payload_key("a", "0" * 64),
        layout.quarantine_key("2026-01-01", "m"),
        layout.record_key("team", "a"),
        layout.recent_folder("team"),
        layout.slots_folder("team"),
    )
    for key in keys:
        with pytest.raises(ValueError, match="must not begin with"):
            layout.clean_prefix(key)


def test_the_trial_is_no_jobs_result() -> None:
    job = Job(metadata=Metadata(id="queue-agent-check", tasktype="a"), content={})
    folder = layout.ResultKeys.of(job).folder
    assert layout.trial_key("token").startswith(f"{folder}/")
    assert not layout.is_manifest(layout.trial_key("token"))


@pytest.mark.parametrize("name", layout.RESERVED)
@pytest.mark.parametrize(
    ("load", "variable"),
    [
        (Settings.load, "QUEUE_AGENT_RUNTIME_NAME"),
        (ClientSettings.load, "QUEUE_AGENT_RUNTIME_NAME"),
        (GatewaySettings.load, "QUEUE_AGENT_RUNTIME_NAME"),
        (GatewaySettings.load, "QUEUE_AGENT_GATEWAY_RUNTIMES"),
    ],
)
def test_no_runtime_is_called_like_a_folder_of_the_system(
    monkeypatch: pytest.MonkeyPatch, load: Callable[[], object], variable: str, name: str
) -> None:
    for setting, value in {**BUCKET, variable: name}.items():
        monkeypatch.setenv(setting, value)
    with pytest.raises(SettingsError) as error:
        load()
    line = str(error.value)
    assert line.startswith(variable)
    assert "must be none of" in line
    assert len(line.splitlines()) == 1


RESERVED_SPELLINGS = [
    "gateway",
    "/gateway/recent",
    "//gateway",
    "gateway/recent/team",
    "gateway/in-flight",
    "Gateway/jobs",
    "GATEWAY",
    "%67ateway/jobs",
    "gateway%2Fjobs",
    "%2fgateway",
    "\uff47ateway/recent",
    "payloads/a",
    "cancelled",
    "runtimes/webui",
]


@pytest.mark.parametrize("prefix", RESERVED_SPELLINGS)
def test_no_prefix_begins_with_a_reserved_segment_however_it_is_written(prefix: str) -> None:
    with pytest.raises(ValueError, match="must not begin with"):
        layout.clean_prefix(prefix)
    with pytest.raises(ValueError, match="must not begin with"):
        Metadata(id="a", tasktype="b", prefix=prefix)
    with pytest.raises(ValueError, match="must not begin with"):
        Client(MemoryCloud(), bucket="results").job("a", prefix=prefix)


@pytest.mark.parametrize(
    "prefix",
    ["a/%2e%2e/gateway", "a/..%2fgateway", "\uff0e\uff0e/gateway", "%2e/a", "a%5c..", "\u2025/a"],
)
def test_no_prefix_steps_elsewhere_however_it_is_written(prefix: str) -> None:
    with pytest.raises(ValueError, match="path segment"):
        layout.clean_prefix(prefix)


@pytest.mark.parametrize(
    "prefix", ["a/gateway", "my-payloads", "gateways", "shop 7/\u00e9t\u00e9", "50%"]
)
def test_other_prefixes_are_as_free_as_before(prefix: str) -> None:
    assert layout.clean_prefix(prefix) == prefix


@pytest.mark.parametrize(
    "key",
    ["quarantine/a", "/quarantine/a", "Quarantine\\a", "%71uarantine/a", "quarantine%2fa"],
)
def test_what_was_put_aside_is_known_however_a_store_reads_its_key(key: str) -> None:
    assert layout.is_quarantined(key)
    assert not layout.is_quarantined(f"output/{key}")
    assert not layout.is_quarantined("quarantined/a")
