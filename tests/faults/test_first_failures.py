"""Programs that find nothing there: one line that says what to do, and they end when told to."""

import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness import until
from queue_agent.testing.process import HOST, ServerProcess, free_port

PROGRAMS = {
    "run": "cloud refuses",
    "scaler": "cloud refuses",
    "gateway": "notifications are not heard",
}
SETTINGS = {
    "QUEUE_AGENT_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/jobs",
    "QUEUE_AGENT_JOB_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:jobs",
    "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:notifications",
    "QUEUE_AGENT_BUCKET": "results",
    "QUEUE_AGENT_RUNTIME": "comfyui",
    "QUEUE_AGENT_RUNTIME_NAME": "sdruntime",
    "QUEUE_AGENT_RUNTIME_URL": f"http://{HOST}:1",
    "QUEUE_AGENT_HEALTH_PORT": "0",
    "QUEUE_AGENT_GATEWAY_PORT": "{port}",
    "QUEUE_AGENT_SCALER_PORT": "{port}",
    "QUEUE_AGENT_SCALER_HOST": HOST,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
ENDED = {0, -signal.SIGTERM}
"""uvicorn sends itself again what it was sent."""
MISSING: Mapping[str, Mapping[str, str]] = {
    "nobody listens": {**KEYS, "AWS_ENDPOINT_URL": f"http://{HOST}:{free_port()}"},
    "no such host": {**KEYS, "AWS_ENDPOINT_URL": "http://nowhere.invalid"},
    "no credentials": {"AWS_ENDPOINT_URL": f"http://{HOST}:{free_port()}"},
}


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("program", PROGRAMS)
async def test_what_is_not_there_is_said_once_with_what_to_do_and_without_a_trace(
    program: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*KEYS, "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    log = tmp_path / "log"
    server = ServerProcess(
        [sys.executable, "-m", "queue_agent", program],
        env={**SETTINGS, **MISSING[missing]},
        log=log,
    )

    def events() -> list[str]:
        return [line["event"] for line in lines()]

    def lines() -> list[dict[str, str]]:
        return [json.loads(line) for line in log.read_text().splitlines()]

    async def is_said() -> bool:
        assert server.lives, log.read_text()
        return PROGRAMS[program] in events()

    server.spawn()
    try:
        await until(is_said, what="the failure")
        assert await asyncio.to_thread(server.stop, 60) in ENDED
    finally:
        server.kill()
    warnings = [line for line in lines() if line["level"] == "warning"]
    assert all(line["reason"] and line["remedy"] for line in warnings), warnings
    said = [(line["event"], line.get("service")) for line in warnings]
    assert len(said) == len(set(said)), said
    assert "Traceback" not in log.read_text()
