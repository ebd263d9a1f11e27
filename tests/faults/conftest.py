"""A rig per test, and a fake Web UI for the whole run."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from faults.rig import BRIEF, Rig, rigged
from harness import webui_process
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.nats import NatsServer
from queue_agent.testing.process import ServerProcess


@pytest.fixture(scope="session")
def webui() -> Iterator[ServerProcess]:
    """Quick generations; tests tell theirs apart by the prompts, which are the jobs' ids."""
    with webui_process("--step-seconds", "0.02") as server:
        yield server


@pytest.fixture
async def rig(
    embedded_cloud: EmbeddedCloud, webui: ServerProcess, tmp_path: Path
) -> AsyncIterator[Rig]:
    """Messages stay away longer than a test waits, unless somebody gives them back."""
    async with rigged(embedded_cloud, webui, tmp_path, visibility_timeout=120) as opened:
        yield opened


@pytest.fixture
async def brief_rig(
    embedded_cloud: EmbeddedCloud, webui: ServerProcess, tmp_path: Path
) -> AsyncIterator[Rig]:
    """Messages come back soon when their agent is gone."""
    async with rigged(embedded_cloud, webui, tmp_path, visibility_timeout=BRIEF) as opened:
        yield opened


@pytest.fixture(params=["aws", "nats"])
def any_cloud(request: pytest.FixtureRequest) -> EmbeddedCloud | NatsServer:
    """The emulator, then a NATS server."""
    name = "nats_server" if request.param == "nats" else "embedded_cloud"
    found: EmbeddedCloud | NatsServer = request.getfixturevalue(name)
    return found


@pytest.fixture
async def any_rig(
    any_cloud: EmbeddedCloud | NatsServer, webui: ServerProcess, tmp_path: Path
) -> AsyncIterator[Rig]:
    """As `rig`, on either."""
    async with rigged(any_cloud, webui, tmp_path, visibility_timeout=120) as opened:
        yield opened


@pytest.fixture
async def any_brief_rig(
    any_cloud: EmbeddedCloud | NatsServer, webui: ServerProcess, tmp_path: Path
) -> AsyncIterator[Rig]:
    """As `brief_rig`, on either."""
    async with rigged(any_cloud, webui, tmp_path, visibility_timeout=BRIEF) as opened:
        yield opened
