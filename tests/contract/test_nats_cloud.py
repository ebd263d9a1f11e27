"""The ports on NATS keep the promises of a cloud, against the real server."""

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from queue_agent.cloud import Bucket, Cloud, Deployment
from queue_agent.cloud.nats import NatsCloud
from queue_agent.testing import CloudContract
from queue_agent.testing.cloud_contract import CloudHooks
from queue_agent.testing.nats import NatsServer, deploy


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    folder = tmp_path_factory.mktemp("nats")
    with NatsServer(folder, log=folder / "server.log") as server:
        yield server


class OnNats(CloudHooks):
    @pytest_asyncio.fixture
    async def cloud(self, server: NatsServer) -> AsyncIterator[NatsCloud]:
        self._server = server
        cloud = server.connect()
        yield cloud
        await cloud.aclose()

    async def deploy(
        self,
        cloud: Cloud,
        *,
        visibility_timeout: int = 30,
        max_receives: int | None = None,
        fifo: bool = False,
    ) -> Deployment:
        if fifo:
            pytest.skip("streams keep no order by groups")
        assert isinstance(cloud, NatsCloud)
        return await deploy(
            cloud,
            self._server.address,
            f"contract-{secrets.token_hex(4)}",
            visibility_timeout=visibility_timeout,
            max_receives=max_receives,
        )

    @pytest_asyncio.fixture
    async def unreachable(self) -> AsyncIterator[NatsCloud]:
        away = NatsCloud(["nats://127.0.0.1:1"], {})
        yield away
        await away.aclose()


class TestNatsCloud(OnNats, CloudContract):
    async def test_anyone_can_read_by_a_presigned_link(self, bucket: Bucket) -> None:
        """Nobody can, and whoever asks is told."""
        await bucket.write("a", b"", media_type="text/plain")
        assert await bucket.presign("a", seconds=60) is None
        assert await bucket.longest_link() == 0
