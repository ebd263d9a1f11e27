"""What a bucket promises."""

import asyncio

import pytest

from queue_agent.cloud import Bucket, Cloud, Deployment, ObjectPart
from queue_agent.media.asset import Asset
from queue_agent.testing.cloud_contract.hooks import CloudHooks, all_unavailable
from queue_agent.testing.samples import in_a_file
from queue_agent.wire.errors import ObjectExists, ObjectNotFound, Rejected

_NAMES = ("plain", "%41", "-._~", "a b+c&d=e?f#g", "ünï/cödé", "deep/er/still")
"""Parts of keys that are easily mangled on their way."""


@pytest.mark.asyncio
class BucketPromises(CloudHooks):
    @pytest.fixture
    def bucket(self, cloud: Cloud, deployment: Deployment) -> Bucket:
        return cloud.bucket(deployment.bucket)

    async def test_what_is_written_is_read(self, bucket: Bucket) -> None:
        for data in (b"", b"text", bytes(range(256))):
            await bucket.write("a/b", data, media_type="application/octet-stream")
            assert await bucket.read("a/b") == data

    async def test_large_objects_are_read_piece_by_piece(self, bucket: Bucket) -> None:
        data, pieces = bytes(range(256)) * 12_000, []
        await bucket.write("large", data, media_type="application/octet-stream")

        async def keep(piece: bytes) -> None:
            pieces.append(bytes(piece))

        await bucket.read_into("large", keep)
        assert b"".join(pieces) == data
        assert len(pieces) > 1

    @pytest.mark.parametrize("size", [1, 1000, 5 * 2**20 + 1])
    async def test_parts_of_objects_are_read_wherever_they_begin(
        self, bucket: Bucket, size: int
    ) -> None:
        data = (bytes(range(251)) * (size // 251 + 1))[:size]
        await bucket.write("a", data, media_type="text/plain")
        chunk = 2**18
        for start in sorted({0, chunk - 1, 16 * chunk, 17 * chunk + 3, size - 1}):
            for length in (1, 2**20):
                found = await bucket.read_range("a", start, length)
                assert found == ObjectPart(data[start : start + length], size), (start, length)
        assert await bucket.read_range("a", 2 * size, 10) == ObjectPart(b"", size)
        with pytest.raises(ObjectNotFound):
            await bucket.read_range("b", 0, 1)

    async def test_an_empty_object_has_no_parts(self, bucket: Bucket) -> None:
        await bucket.write("a", b"", media_type="text/plain")
        assert await bucket.read_range("a", 0, 10) == ObjectPart(b"", 0)

    @pytest.mark.parametrize("size", [0, 1, 3 * 2**20, 5 * 2**20, 5 * 2**20 + 1, 12_345_678])
    async def test_what_lies_in_a_file_is_written_whole(self, bucket: Bucket, size: int) -> None:
        data = (bytes(range(251)) * (size // 251 + 1))[:size]
        with in_a_file(data) as file:
            asset = Asset(file, "image/x-test")
            await bucket.write("a", asset, media_type="image/x-test")
            await bucket.write("b", asset, media_type="image/x-test", create_only=True)
        assert await bucket.read("a") == await bucket.read("b") == data

    @pytest.mark.parametrize("size", [1, 5 * 2**20 + 1])
    async def test_a_create_from_a_file_never_replaces(self, bucket: Bucket, size: int) -> None:
        await bucket.write("a", b"first", media_type="text/plain", create_only=True)
        with in_a_file(bytes(size)) as file, pytest.raises(ObjectExists):
            await bucket.write("a", Asset(file, ""), media_type="text/plain", create_only=True)
        assert await bucket.read("a") == b"first"

    async def test_a_write_replaces_what_was_there(self, bucket: Bucket) -> None:
        for data in (b"first", b"second"):
            await bucket.write("a", data, media_type="text/plain")
        assert await bucket.read("a") == b"second"

    async def test_a_create_never_replaces(self, bucket: Bucket) -> None:
        await bucket.write("a", b"first", media_type="text/plain", create_only=True)
        with pytest.raises(ObjectExists):
            await bucket.write("a", b"second", media_type="text/plain", create_only=True)
        assert await bucket.read("a") == b"first"

    async def test_what_was_deleted_can_be_created_anew(self, bucket: Bucket) -> None:
        await bucket.write("a", b"first", media_type="text/plain", create_only=True)
        await bucket.delete("a")
        await bucket.write("a", b"second", media_type="text/plain", create_only=True)
        assert await bucket.read("a") == b"second"

    async def test_of_those_who_create_at_once_one_wins(self, bucket: Bucket) -> None:
        outcomes = await asyncio.gather(
            *(
                bucket.write("a", b"%d" % number, media_type="text/plain", create_only=True)
                for number in range(5)
            ),
            return_exceptions=True,
        )
        (winner,) = [number for number, outcome in enumerate(outcomes) if outcome is None]
        assert sum(isinstance(outcome, ObjectExists) for outcome in outcomes) == 4
        assert await bucket.read("a") == b"%d" % winner

    async def test_the_bucket_says_that_one_create_wins_and_keeps_nothing_of_the_trial(
        self, bucket: Bucket
    ) -> None:
        assert await bucket.creates_once("output/trial")
        assert await bucket.keys("") == []

    async def test_an_object_that_is_not_there_is_told_from_one_that_is(
        self, bucket: Bucket
    ) -> None:
        assert not await bucket.exists("a")
        with pytest.raises(ObjectNotFound):
            await bucket.read("a")
        await bucket.write("a", b"", media_type="text/plain")
        assert await bucket.exists("a")
        await bucket.delete("a")
        assert not await bucket.exists("a")

    async def test_deleting_what_is_not_there_is_no_error(self, bucket: Bucket) -> None:
        await bucket.delete("a")

    async def test_an_object_larger_than_the_limit_is_refused(self, bucket: Bucket) -> None:
        await bucket.write("a", bytes(100), media_type="text/plain")
        assert len(await bucket.read("a", limit=100)) == 100
        with pytest.raises(Rejected) as caught:
            await bucket.read("a", limit=99)
        assert caught.value.type == "reference_too_large"

    async def test_an_object_is_read_again_only_once_it_has_changed(self, bucket: Bucket) -> None:
        with pytest.raises(ObjectNotFound):
            await bucket.read_changed("a")
        await bucket.write("a", b"first", media_type="text/plain")
        first = await bucket.read_changed("a")
        assert first is not None
        assert first.data == b"first"
        assert await bucket.read_changed("a", first.version) is None
        await bucket.write("a", b"other", media_type="text/plain")
        other = await bucket.read_changed("a", first.version, limit=5)
        assert other is not None
        assert other.data == b"other"
        with pytest.raises(Rejected) as caught:
            await bucket.read_changed("a", first.version, limit=4)
        assert caught.value.type == "reference_too_large"
        await bucket.delete("a")
        with pytest.raises(ObjectNotFound):
            await bucket.read_changed("a", other.version)

    async def test_objects_go_by_the_names_they_were_given(self, bucket: Bucket) -> None:
        for name in _NAMES:
            await bucket.write(f"names/{name}", name.encode(), media_type="text/plain")
            assert await bucket.keys("names/") == [f"names/{name}"]
            assert await bucket.read(f"names/{name}") == name.encode()
            assert await bucket.exists(f"names/{name}")
            await bucket.delete(f"names/{name}")
            assert await bucket.keys("names/") == []

    async def test_keys_are_listed_by_prefix_and_in_order(self, bucket: Bucket) -> None:
        for key in ("list/b", "list/ü", "list/B", "list/a/c", "listed", "other/a"):
            await bucket.write(key, b"", media_type="text/plain")
        assert await bucket.keys("list/") == ["list/B", "list/a/c", "list/b", "list/ü"]
        assert await bucket.keys("none/") == []

    async def test_keys_are_listed_page_by_page(self, bucket: Bucket) -> None:
        for key in "abcde":
            await bucket.write(key, b"", media_type="text/plain")
        pages, after = [], ""
        while page := await bucket.keys("", after=after, limit=2):
            pages.append(list(page))
            after = page[-1]
        assert pages == [["a", "b"], ["c", "d"], ["e"]]

    async def test_a_page_may_begin_at_a_key_that_is_not_there(self, bucket: Bucket) -> None:
        for key in ("p/a", "p/c"):
            await bucket.write(key, b"", media_type="text/plain")
        assert await bucket.keys("p/", after="p/b") == ["p/c"]

    async def test_a_listing_tells_the_same_keys_and_when_they_were_written_if_anything(
        self, bucket: Bucket
    ) -> None:
        for key in ("p/a", "p/b", "p/c"):
            await bucket.write(key, b"", media_type="text/plain")
        found = await bucket.listing("p/", after="p/a", limit=1)
        assert [one.key for one in found] == ["p/b"]
        written = [one.modified for one in await bucket.listing("p/") if one.modified is not None]
        assert written == sorted(written)
        assert max(written, default=0) - min(written, default=0) < 3600
        await bucket.write("p/c", bytes(100_000), media_type="text/plain")
        sizes = [one.size for one in await bucket.listing("p/") if one.size is not None]
        assert sizes in ([0, 0, 100_000], [])

    async def test_anyone_can_read_by_a_presigned_link(self, bucket: Bucket) -> None:
        for name in _NAMES:
            await bucket.write(f"links/{name}", name.encode(), media_type="image/x-test")
            link = await bucket.presign(f"links/{name}", seconds=3600)
            assert link is not None
            assert await self.fetch(link) == (name.encode(), "image/x-test")

    async def test_a_bucket_out_of_reach_is_unavailable(
        self, unreachable: Cloud, deployment: Deployment
    ) -> None:
        bucket = unreachable.bucket(deployment.bucket)
        await all_unavailable(
            bucket.read("a"),
            bucket.read_changed("a"),
            bucket.read_range("a", 0, 1),
            bucket.write("a", b"", media_type="text/plain"),
            bucket.write("a", b"", media_type="text/plain", create_only=True),
            bucket.exists("a"),
            bucket.delete("a"),
            bucket.keys(""),
        )
