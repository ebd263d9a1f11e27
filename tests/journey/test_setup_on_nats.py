"""`queue-agent setup` and `check` against a real server."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from queue_agent.testing.nats import NatsServer


def queue_agent(nats_server: NatsServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "queue_agent", *arguments],
        env={
            **os.environ,
            "QUEUE_AGENT_QUEUE_URL": f"{nats_server.address}/jobs/sdruntime",
            "QUEUE_AGENT_TOPIC_ARN": f"{nats_server.address}/notifications",
            "QUEUE_AGENT_BUCKET": f"{nats_server.address}/results",
            "QUEUE_AGENT_RUNTIME": "webui",
            "QUEUE_AGENT_RUNTIME_NAME": "sdruntime",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_what_is_missing_is_made_once_and_check_finds_it(nats_server: NatsServer) -> None:
    missing = [
        "stream jobs",
        "stream jobs-dead",
        "stream notifications",
        "consumer sdruntime of stream jobs",
        "consumer sdruntime~turns of stream jobs",
        "consumer sdruntime of stream jobs-dead",
        "stream KV_results",
        "stream OBJ_results",
    ]
    refused = queue_agent(nats_server, "check", "--no-runtime")
    assert refused.returncode == 1
    assert "stream not found" in refused.stdout
    wanted = ["--max-receives", "5", "--lease", "45"]
    for arguments in (["--dry-run"], wanted):
        done = queue_agent(nats_server, "setup", *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == missing
    assert queue_agent(nats_server, "setup", *wanted).stdout == ""
    differing = queue_agent(nats_server, "setup", "--lease", "45")
    assert differing.returncode == 1
    assert "dead letters after 5, in jobs-dead, wanted are dead letters after 3" in differing.stdout
    found = queue_agent(nats_server, "check", "--no-runtime")
    assert found.returncode == 0, found.stdout
    assert "visibility timeout 45 s" in found.stdout
    assert "after 5 deliveries" in found.stdout
    assert "sync_interval: always" in " ".join(found.stdout.split())


@pytest.mark.parametrize(
    ("notifications", "told"),
    [
        ("arn:aws:sns:eu-west-1:1:done", b"--topic"),
        ("nats://127.0.0.1:4/done", b"on one cloud"),
    ],
)
async def test_setup_refuses_what_is_wanted_by_halves(
    notifications: str, told: bytes, tmp_path: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "queue_agent", "setup", "--bucket", "results",
        "--queue", "https://sqs.eu-west-1.amazonaws.com/1/jobs", "--notifications", notifications,
        stderr=asyncio.subprocess.PIPE, cwd=tmp_path,
    )  # fmt: skip
    _, said = await process.communicate()
    assert process.returncode == 2
    assert told in said
