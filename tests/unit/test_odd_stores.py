"""Stores that speak S3's protocol and do not all that S3 does."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from odd_cloud import OddCloud
from queue_agent.cloud import Bucket, ObjectPart
from queue_agent.cloud.aws import AwsCloud
from queue_agent.wire.errors import ObjectExists, Unavailable

pytestmark = pytest.mark.usefixtures("sdk_loaded_once")

KEY = "output/queue-agent-check/x"


@pytest.fixture
async def odd() -> AsyncIterator[OddCloud]:
    async with OddCloud().serving() as odd:
        yield odd


@pytest.fixture
async def bucket(odd: OddCloud) -> AsyncIterator[Bucket]:
    cloud = AwsCloud(
        "us-east-1", endpoint_url=odd.url, aws_access_key_id="id", aws_secret_access_key="secret"
    )
    yield cloud.bucket("results")
    await cloud.aclose()


async def create(bucket: Bucket, data: bytes) -> None:
    await bucket.write("a", data, media_type="text/plain", create_only=True)


async def test_a_store_that_keeps_creates_is_told_so_and_left_as_it_was(
    odd: OddCloud, bucket: Bucket
) -> None:
    assert await bucket.creates_once(KEY)
    assert odd.objects == {}


@pytest.mark.parametrize("exists", [(412, ""), (409, "FileAlreadyExists"), (304, ""), (304, "x")])
async def test_a_create_of_what_exists_is_refused_in_whatever_words(
    odd: OddCloud, bucket: Bucket, exists: tuple[int, str]
) -> None:
    odd.exists = exists
    await create(bucket, b"first")
    with pytest.raises(ObjectExists):
        await create(bucket, b"second")
    assert await bucket.creates_once(KEY)


async def test_a_conflict_of_two_creates_is_tried_again_and_no_sign_that_one_won(
    odd: OddCloud, bucket: Bucket
) -> None:
    odd.exists = (409, "ConditionalRequestConflict")
    await create(bucket, b"first")
    with pytest.raises(Unavailable):
        await create(bucket, b"second")


async def test_where_conditions_are_ignored_it_is_noticed_and_looked_first_from_then_on(
    odd: OddCloud, bucket: Bucket
) -> None:
    odd.ignores_conditions = True
    assert not await bucket.creates_once(KEY)
    await create(bucket, b"first")
    with pytest.raises(ObjectExists):
        await create(bucket, b"second")
    assert odd.objects == {"results/a": b"first"}


async def test_where_conditions_are_refused_it_is_looked_first_without_being_told(
    odd: OddCloud, bucket: Bucket
) -> None:
    odd.knows_no_conditions = True
    await create(bucket, b"first")
    with pytest.raises(ObjectExists):
        await create(bucket, b"second")
    assert odd.objects == {"results/a": b"first"}
    assert not await bucket.creates_once(KEY)
    assert list(odd.objects) == ["results/a"]


async def test_where_creates_at_the_same_moment_all_win_it_is_noticed(
    odd: OddCloud, bucket: Bucket
) -> None:
    odd.crossing = (3, 4)  # the first two come one after the other
    assert not await bucket.creates_once(KEY)
    await create(bucket, b"first")
    with pytest.raises(ObjectExists):
        await create(bucket, b"second")


async def test_a_store_that_is_away_tells_nothing_of_itself(odd: OddCloud, bucket: Bucket) -> None:
    odd.broken = True
    with pytest.raises(Unavailable):
        await bucket.creates_once(KEY)
    odd.broken = False
    assert await bucket.creates_once(KEY)


async def test_objects_are_sent_whole_and_without_checksums(
    odd: OddCloud, bucket: Bucket, tmp_path: Path
) -> None:
    odd.refuses_streams = True
    await create(bucket, b"small")
    large = tmp_path / "large"
    large.write_bytes(bytes(3_000_000))
    await bucket.write("large", large.read_bytes(), media_type="text/plain")
    assert await bucket.read("a") == b"small"
    assert len(odd.objects["results/large"]) == 3_000_000
    assert not any("x-amz-checksum-mode" in one.headers for one in odd.requests)


@pytest.mark.parametrize("said", ["by the environment", "by a file"])
async def test_who_wants_checksums_of_such_a_store_says_so_to_the_sdk(
    odd: OddCloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str
) -> None:
    if said == "by a file":
        config = tmp_path / "config"
        config.write_text("[default]\nrequest_checksum_calculation = when_supported\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    else:
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
    odd.refuses_streams = True
    cloud = AwsCloud(
        "us-east-1", endpoint_url=odd.url, aws_access_key_id="id", aws_secret_access_key="secret"
    )
    with pytest.raises(Unavailable):
        await create(cloud.bucket("results"), b"x")
    await cloud.aclose()


async def link_to(endpoint: str) -> str:
    cloud = AwsCloud(
        "us-east-1", endpoint_url=endpoint, aws_access_key_id="id", aws_secret_access_key="secret"
    )
    link = await cloud.bucket("results").presign("a", seconds=60)
    await cloud.aclose()
    return link.partition("?")[0]


async def test_buckets_are_paths_unless_the_store_or_the_sdks_file_wants_them_as_hosts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert await link_to("https://store.example") == "https://store.example/results/a"
    oss = "s3.oss-cn-hangzhou.aliyuncs.com"
    assert await link_to(f"https://{oss}") == f"https://results.{oss}/a"
    config = tmp_path / "config"
    config.write_text("[default]\ns3 =\n  addressing_style = virtual\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    assert await link_to("https://store.example") == "https://results.store.example/a"


async def test_pages_go_on_where_a_list_cannot_begin_in_the_middle(
    odd: OddCloud, bucket: Bucket
) -> None:
    odd.ignores_start_after, odd.most_keys = True, 2
    names = [f"p/{letter}" for letter in "abcdefg"]
    for name in names:
        odd.objects[f"results/{name}"] = b""
    pages: list[str] = []
    after = ""
    async with asyncio.timeout(90):
        while page := await bucket.keys("p/", after=after, limit=3):
            pages += page
            after = page[-1]
    assert pages == names


async def test_a_part_is_a_part_where_the_store_knows_no_ranges(
    odd: OddCloud, bucket: Bucket
) -> None:
    data = bytes(range(256)) * 10_000
    await bucket.write("a", data, media_type="text/plain")
    for start, size in ((0, 10), (1_500_000, 2_000_000), (len(data), 5), (0, len(data))):
        found = await bucket.read_range("a", start, size)
        assert found == ObjectPart(data[start : start + size], len(data))
