"""The cloud in memory keeps the promises of a cloud; its time goes on at once."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest_asyncio

from queue_agent.cloud import Bucket, Cloud, Deployment
from queue_agent.cloud.memory import ManualClock, MemoryCloud
from queue_agent.testing import CloudContract
from queue_agent.testing.cloud_contract import CloudHooks, QueuePromises, TenantPromises
from queue_agent.wire.errors import Unavailable


class OnMemory(CloudHooks):
    @pytest_asyncio.fixture
    async def cloud(self) -> AsyncIterator[MemoryCloud]:
        self._cloud = MemoryCloud(ManualClock())
        yield self._cloud
        await self._cloud.aclose()

    async def deploy(
        self,
        cloud: Cloud,
        *,
        visibility_timeout: int = 30,
        max_receives: int | None = None,
        fifo: bool = False,
    ) -> Deployment:
        assert isinstance(cloud, MemoryCloud)
        return cloud.deploy(
            f"contract-{secrets.token_hex(4)}",
            visibility_timeout=visibility_timeout,
            max_receives=max_receives,
            raw_delivery=True,
            fifo=fifo,
            moves_dead_letters=self.moves_dead_letters,
        )

    @pytest_asyncio.fixture
    async def unreachable(self) -> AsyncIterator[MemoryCloud]:
        away = MemoryCloud()
        away.faults.outage(Unavailable("The cloud is away.", type="cloud_unavailable"))
        yield away

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(0)
        assert isinstance(self._cloud.clock, ManualClock)
        self._cloud.clock.advance(seconds)

    async def fetch(self, presigned_url: str) -> tuple[bytes, str]:
        return await self._cloud.fetch(presigned_url)


class TestMemoryCloud(OnMemory, CloudContract, TenantPromises):
    """As on AWS."""

    async def test_a_listing_in_memory_tells_how_large_objects_are(self, bucket: Bucket) -> None:
        await bucket.write("sized/a", b"abc", media_type="text/plain")
        assert [one.size for one in await bucket.listing("sized/")] == [3]


class TestMemoryCloudWhoseReceiversBury(OnMemory, QueuePromises):
    """As on NATS."""

    moves_dead_letters = False
