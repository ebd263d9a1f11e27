"""Gateways on a cloud of its own for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway_bench import Gateways
from queue_agent.gateway import app as gateway_app


@pytest.fixture
async def gateways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateways]:
    made = Gateways(tmp_path)
    monkeypatch.setattr(gateway_app, "connect", lambda *_, **__: made.cloud)
    async with made.stack:
        yield made
