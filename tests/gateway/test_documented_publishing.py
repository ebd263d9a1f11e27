"""What README and the page for publishers tell a reader to publish is generated and answered."""

import asyncio
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from fakes import importable_tests
from gateway_site import Site, finished
from harness import PATIENCE
from queue_agent.client import Client
from queue_agent.testing.process import ServerProcess

PROJECT: Final = Path(__file__).parents[2]
PAGES: Final = ("README.md", "docs/publishing.md")
WAYS: Final = ("boto3.client", "aws sns publish", "curl ", "SyncClient", "queue-agent submit")
BLOCK: Final = re.compile(r"^```(json|python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMES: Final = {"id": "order-7f3a", "runtime": "sdruntime"}


@pytest.fixture
async def client(site: Site) -> AsyncIterator[Client]:
    """One that sees the results."""
    cloud = site.embedded.connect()
    try:
        yield Client(cloud, bucket=site.deployment.bucket)
    finally:
        await cloud.aclose()


def ways() -> list[tuple[str, str, str]]:
    """Page, language and text of each block that publishes."""
    return [
        (page, language, text)
        for page in PAGES
        for language, text in BLOCK.findall((PROJECT / page).read_text())
        if any(way in text for way in WAYS)
    ]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_every_way_to_publish(page: str) -> None:
    shown = [text for where, _, text in ways() if where == page]
    assert [way for way in WAYS if not any(way in text for text in shown)] == []


@pytest.mark.parametrize(("page", "language", "text"), ways())
async def test_what_a_page_says_to_publish_is_answered(
    site: Site,
    gateway: ServerProcess,
    api: httpx.AsyncClient,
    client: Client,
    tmp_path: Path,
    page: str,
    language: str,
    text: str,
) -> None:
    runtime, job_id = site.deployment.runtime_name, f"order-{secrets.token_hex(4)}"
    blocks = BLOCK.findall((PROJECT / page).read_text())
    (job,) = (found for kind, found in blocks if kind == "json" and NAMES["id"] in found)
    made = {NAMES["id"]: job_id, NAMES["runtime"]: runtime}
    for name, ours in made.items():
        assert name in job
        job, text = job.replace(name, ours), text.replace(name, ours)
    (tmp_path / "job.json").write_text(job)
    environment = {
        **site.environment,
        **programs(tmp_path / "bin"),
        "AWS_DEFAULT_REGION": site.environment["AWS_REGION"],  # by which boto3 knows it
        "GATEWAY": gateway.url,
    }
    answer = await asyncio.to_thread(ran, language, text, tmp_path, environment)
    if "curl" in text:
        assert (await finished(api, json.loads(answer)["id"]))["status"] == "completed"
    elif "out" in re.findall(r"\w+", text):
        assert list((tmp_path / "out").iterdir())
    else:
        async with asyncio.timeout(PATIENCE):
            assert (await client.job(job_id).result()).status == "completed"


def programs(folder: Path) -> dict[str, str]:
    """A path to the commands that pages use, and a stand-in for the AWS CLI where there is none."""
    folder.mkdir()
    commands = {"queue-agent": "queue_agent"}
    if shutil.which("aws") is None:
        commands["aws"] = "fakes.aws_cli"
    for name, module in commands.items():
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        script.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", **importable_tests()}


def ran(language: str, text: str, folder: Path, environment: dict[str, str]) -> str:
    """What the block prints."""
    launcher = [sys.executable, "-c"] if language == "python" else ["bash", "-ec"]
    done = subprocess.run(
        [*launcher, text],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=5 * PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
