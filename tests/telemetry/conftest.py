"""A collector, and a deployment whose runtime makes spans of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from harness import Scene, scene, webui_process, webui_settings
from queue_agent.testing.aws import EmbeddedCloud
from telemetry.collector import Collector, collecting
from telemetry.stages import new_name


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """Where spans and metrics are sent to."""
    async with collecting() as listening:
        yield listening


@pytest.fixture
async def stage(embedded_cloud: EmbeddedCloud, tmp_path: Path) -> AsyncIterator[Scene]:
    """A deployment with the fake Web UI as its runtime."""
    with webui_process("--step-seconds", "0.02") as webui:
        async with scene(embedded_cloud, new_name(), tmp_path, webui_settings(webui.url)) as opened:
            yield opened
