"""`queue-agent check` tells what operators hold back."""

import pytest

from queue_agent.cli.check import check
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.settings.agent import Settings
from queue_agent.wire.layout import pauses_key

NAME = "sdruntime"


async def told(
    marker: bytes | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    **more: str,
) -> str:
    """The line of pauses; empty where there is none."""
    cloud = MemoryCloud()
    monkeypatch.setattr("queue_agent.cli.check.connect", lambda *_, **__: cloud)
    monkeypatch.setenv("COLUMNS", "300")
    given = {
        "QUEUE_AGENT_RUNTIME": "webui",
        "QUEUE_AGENT_RUNTIME_NAME": NAME,
        "QUEUE_AGENT_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/jobs",
        "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:news",
        "QUEUE_AGENT_BUCKET": "images",
        **more,
    }
    if marker is not None:
        await cloud.bucket("images").write(pauses_key(NAME), marker, media_type="application/json")
    assert await check(Settings.load(given), with_runtime=False), "a pause is no fault"
    lines = capsys.readouterr().out.splitlines()
    return next((line for line in lines if "pauses:" in line), "")


async def test_check_says_what_is_paused_and_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = b"""{"pauses": [
        {"reason": "new [nodes]", "until": "2999-01-01T00:00:00Z"},
        {"tenant": "shop-7"},
        {"model": "old.safetensors", "until": "2001-01-01T00:00:00Z"},
        {"model": "next.safetensors", "since": "2999-01-01T00:00:00Z"}
    ]}"""
    said = await told(marker, monkeypatch, capsys)
    assert "the runtime until 2999-01-01T00:00:00+00:00 (new [nodes]); tenant shop-7." in said
    assert "queue-agent resume sdruntime" in said
    assert "safetensors" not in said, "what is over, or comes later"


@pytest.mark.parametrize("marker", [None, b"{}", b'{"pauses": []}'])
async def test_check_says_nothing_where_nothing_is_paused(
    marker: bytes | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await told(marker, monkeypatch, capsys) == ""


async def test_check_says_nothing_of_pauses_that_agents_do_not_look_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = b'{"pauses": [{"reason": "x"}]}'
    assert await told(marker, monkeypatch, capsys, QUEUE_AGENT_PAUSE_POLL="0") == ""


async def test_check_says_that_a_marker_cannot_be_understood(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = await told(b'{"pauses": 3}', monkeypatch, capsys)
    assert "cannot be understood: pauses" in said
