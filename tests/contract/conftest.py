"""What contract tests of one cloud share."""

from collections.abc import AsyncIterator

import pytest

from queue_agent.cloud.nats import NatsCloud
from queue_agent.testing.nats import NatsServer


@pytest.fixture
async def nats_cloud(nats_server: NatsServer) -> AsyncIterator[NatsCloud]:
    """A client of the server."""
    cloud = nats_server.connect()
    yield cloud
    await cloud.aclose()
