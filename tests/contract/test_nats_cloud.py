"""The ports on NATS keep the promises of a cloud, against the real server."""

import random
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from nats.js import JetStreamContext

from queue_agent.cloud import Bucket, Cloud, Deployment
from queue_agent.cloud.clock import CloudClock
from queue_agent.cloud.nats import NatsCloud, buckets
from queue_agent.testing import CloudContract
from queue_agent.testing.cloud_contract import CloudHooks, TenantPromises
from queue_agent.testing.nats import NatsServer, deploy


class OnNats(CloudHooks):
    moves_dead_letters = False

    @pytest_asyncio.fixture
    async def cloud(self, nats_server: NatsServer) -> AsyncIterator[NatsCloud]:
        self._server = nats_server
        cloud = nats_server.connect()
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


class TestNatsCloud(OnNats, TenantPromises, CloudContract):
    async def test_the_time_is_the_servers_once_it_was_asked_for_anything_of_a_stream(
        self, deployment: Deployment
    ) -> None:
        cloud = NatsCloud([self._server.address], {}, clock=CloudClock(wall=lambda: 12.0))
        assert cloud.now() == 12.0
        before = time.time()
        await cloud.queue(deployment.queue_url).policy()
        assert before - 0.1 <= cloud.now() <= time.time() + 0.1
        await cloud.aclose()

    async def test_anyone_can_read_by_a_presigned_link(self, bucket: Bucket) -> None:
        """Nobody can, and whoever asks is told."""
        await bucket.write("a", b"", media_type="text/plain")
        assert await bucket.presign("a", seconds=60) is None
        assert await bucket.longest_link() == 0

    async def test_parts_are_read_of_objects_that_tell_not_where_theirs_are(
        self, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = random.Random(7).randbytes(5 * 2**20)  # noqa: S311  no secrets
        monkeypatch.setattr(buckets, "_MARKS", "Of-Nobody")
        await bucket.write("a", data, media_type="text/plain")
        monkeypatch.undo()
        assert (await bucket.read_range("a", 4_700_000, 1000)).data == data[4_700_000:4_701_000]

    async def test_the_end_of_a_large_object_is_read_without_its_begin(
        self, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = random.Random(7).randbytes(5 * 2**20)  # noqa: S311  no secrets
        await bucket.write("a", data, media_type="text/plain")
        asked = []
        get_msg = JetStreamContext.get_msg

        async def counted(*args: Any, **kwargs: Any) -> Any:
            asked.append(kwargs)
            return await get_msg(*args, **kwargs)

        monkeypatch.setattr(JetStreamContext, "get_msg", counted)
        assert (await bucket.read_range("a", len(data) - 10, 10)).data == data[-10:]
        assert len(asked) <= 5, "chunks of 256 KiB, of which every 16th is marked"
