"""A stage per test and a fake Web UI for the whole run."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from harness import Scene, scene, webui_process, webui_settings
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess


@pytest.fixture(scope="session")
def webui() -> Iterator[ServerProcess]:
    """Quick generations; tests tell theirs apart by the prompts."""
    with webui_process("--step-seconds", "0.02") as server:
        yield server


@pytest.fixture
async def stage(
    embedded_cloud: EmbeddedCloud, webui: ServerProcess, tmp_path: Path
) -> AsyncIterator[Scene]:
    """A deployment with the fake Web UI as its runtime; agents are started by the test."""
    name = f"rt-{secrets.token_hex(4)}"
    async with scene(embedded_cloud, name, tmp_path, webui_settings(webui.url)) as opened:
        yield opened
