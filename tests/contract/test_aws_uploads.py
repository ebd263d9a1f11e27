"""Large objects go to S3 in parts, against the emulator."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import ClassVar

import pytest
import pytest_asyncio

from queue_agent.cloud import Bucket
from queue_agent.cloud.aws import AwsCloud
from queue_agent.media.asset import Asset
from queue_agent.testing.aws import REGION, EmbeddedCloud, deploy
from queue_agent.testing.fault_proxy import FaultProxy, Hold, Status
from queue_agent.testing.samples import in_a_file
from queue_agent.testing.waiting import eventually
from queue_agent.wire.errors import ObjectExists, Unavailable

pytestmark = pytest.mark.asyncio


class TestUploadsInParts:
    """Large objects from files: what is not completed leaves nothing behind."""

    SIZE: ClassVar[int] = 11 * 2**20
    """Three parts."""

    @pytest.fixture
    def asset(self) -> Iterator[Asset]:
        with in_a_file(bytes(self.SIZE)) as file:
            yield Asset(file, "video/mp4")

    @pytest_asyncio.fixture
    async def proxy(self, embedded_cloud: EmbeddedCloud) -> AsyncIterator[FaultProxy]:
        async with FaultProxy(embedded_cloud.url) as proxy:
            yield proxy

    @pytest_asyncio.fixture
    async def cloud(self, proxy: FaultProxy) -> AsyncIterator[AwsCloud]:
        cloud = AwsCloud(
            REGION,
            endpoint_url=proxy.url,
            aws_access_key_id="id",
            aws_secret_access_key="secret",
        )
        yield cloud
        await cloud.aclose()

    @pytest_asyncio.fixture
    async def bucket(self, cloud: AwsCloud) -> Bucket:
        deployment = await deploy(cloud, f"uploads-{secrets.token_hex(4)}")
        return cloud.bucket(deployment.bucket)

    async def test_a_create_is_decided_when_it_is_completed(
        self, cloud: AwsCloud, bucket: Bucket, asset: Asset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def not_yet(key: str) -> bool:
            return False

        await bucket.write("a", b"first", media_type="text/plain")
        monkeypatch.setattr(bucket, "exists", not_yet)
        with pytest.raises(ObjectExists):
            await bucket.write("a", asset, media_type="video/mp4", create_only=True)
        assert await bucket.read("a") == b"first"
        assert not await self.uploads(cloud, bucket)

    async def test_a_create_of_what_is_there_sends_nothing(
        self, bucket: Bucket, asset: Asset, proxy: FaultProxy
    ) -> None:
        await bucket.write("a", b"first", media_type="text/plain")
        before = proxy.count()
        with pytest.raises(ObjectExists):
            await bucket.write("a", asset, media_type="video/mp4", create_only=True)
        assert proxy.count() - before == 1

    async def test_a_part_that_fails_ends_the_upload(
        self, cloud: AwsCloud, bucket: Bucket, asset: Asset, proxy: FaultProxy
    ) -> None:
        with (
            proxy.fault(Status(403), lambda request: "partNumber=2" in request.target),
            pytest.raises(Unavailable),
        ):
            await bucket.write("a", asset, media_type="video/mp4")
        assert not await bucket.exists("a")
        assert not await self.uploads(cloud, bucket)

    async def test_a_cancelled_write_ends_the_upload(
        self, cloud: AwsCloud, bucket: Bucket, asset: Asset, proxy: FaultProxy
    ) -> None:
        held = Hold()
        with proxy.fault(held, lambda request: "partNumber=2" in request.target):
            begun = proxy.count()
            writing = asyncio.create_task(bucket.write("a", asset, media_type="video/mp4"))
            await eventually(lambda: proxy.count() - begun >= 3)
            assert await self.uploads(cloud, bucket)
            writing.cancel()
            await asyncio.wait({writing})
        assert writing.cancelled()
        assert not await bucket.exists("a")
        assert not await self.uploads(cloud, bucket)

    async def uploads(self, cloud: AwsCloud, bucket: Bucket) -> Sequence[object]:
        s3 = await cloud.client("s3")
        listed = await s3.list_multipart_uploads(Bucket=bucket.name)
        return tuple(listed.get("Uploads", ()))
