"""Results are found by what their jobs are, not by what lies beside or below them."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from queue_agent.client import Client, make_job
from queue_agent.client.results import ResultLocation, find_result
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.gateway.records import Record
from queue_agent.wire.errors import Rejected
from queue_agent.wire.layout import ResultKeys
from queue_agent.wire.notification import Image, Notification
from queue_agent.wire.result import Result

JOB = make_job({"prompt": "mine"}, runtime="r", job_id="order-1")
OTHER = make_job({"prompt": "another's"}, runtime="r", job_id="order-1")
BY_ID = ResultLocation("output/order-1", "order-1")
WHOLE = ResultLocation.of(JOB)


def stored(job_id: str = "order-1", digest: str | None = JOB.digest, runtime: str = "r") -> bytes:
    result = Result(runtime=runtime, id=job_id, digest=digest, status="completed", result=True)
    return result.model_dump_json(exclude_none=True).encode()


def image(url: str) -> Image:
    return Image(url=url, media_type="image/png", bytes=1, sha256="0" * 64)


def keys_of(prefix: str, job_id: str) -> str:
    job = make_job({"prompt": "a"}, runtime="r", job_id=job_id, prefix=prefix)
    return ResultKeys.of(job).manifest


@pytest.mark.parametrize(
    ("key", "result"),
    [
        (keys_of("output/order-1", "-"), stored("-", "0" * 64)),
        (keys_of("output/order-1", "-"), stored()),
        (keys_of("output/order-1", "order-1"), stored()),
        (keys_of("output/order-1", "order-1-x"), stored()),
        (ResultKeys.of(JOB).manifest, stored("order-2")),
        (ResultKeys.of(JOB).manifest, stored(digest="0" * 64)),
        (ResultKeys.of(JOB).artifact(1, "image/png") + ".out", stored()),
        ("output/order-1/other.out", stored()),
        ("output/order-10/order-10-0.out", stored()),
        (ResultKeys.of(JOB).manifest, b"no JSON"),
        (f"output/order-1/order-1-{JOB.digest[:8]}.out", stored("order-2", None)),
    ],
)
@pytest.mark.parametrize("place", [BY_ID, WHOLE], ids=["by id", "by digest"])
async def test_what_is_not_a_jobs_own_result_is_not_taken_for_it(
    place: ResultLocation, key: str, result: bytes
) -> None:
    bucket = MemoryCloud().bucket("results")
    bucket.put(key, result)
    assert await find_result(bucket, place) is None
    bucket.put(ResultKeys.of(JOB).manifests[1], stored(runtime="true"))
    found = await find_result(bucket, BY_ID)
    assert found is not None
    assert found.runtime == "true"


async def test_a_result_whose_name_another_job_has_is_found_in_its_other_place() -> None:
    bucket = MemoryCloud().bucket("results")
    first, second = ResultKeys.of(JOB).manifests
    bucket.put(first, stored(digest=OTHER.digest))
    bucket.put(second, stored(runtime="true"))
    found = await find_result(bucket, WHOLE)
    assert found is not None
    assert found.runtime == "true"


async def test_a_result_is_found_behind_any_number_of_other_objects() -> None:
    bucket = MemoryCloud().bucket("results")
    for number in range(2500):
        bucket.put(f"output/order-1/order-1-/{number}", b"")
    bucket.put(ResultKeys.of(JOB).manifest, stored())
    assert await find_result(bucket, BY_ID) is not None


async def test_results_of_the_first_version_are_found_by_id() -> None:
    bucket = MemoryCloud().bucket("results")
    bucket.put(f"output/order-1/order-1-{JOB.digest[:8]}.out", stored(digest=None))
    assert await find_result(bucket, BY_ID) is not None
    assert await find_result(bucket, WHOLE) is None
    handle = Client(MemoryCloud(), bucket="results").job("order-1")
    assert handle.id == "order-1"


@pytest.mark.parametrize(
    ("digest", "job_id", "found"),
    [
        (None, "order-1", True),
        (None, "order-2", False),
        ("0" * 64, "order-1", False),
        ("", "order-1", False),
        (JOB.digest, "order-1", False),
    ],
)
async def test_a_gateways_record_of_the_first_version_still_has_its_result(
    digest: str | None, job_id: str, found: bool
) -> None:
    former = f"output/order-1/order-1-{JOB.digest[:8]}.out"
    record = Record.of(JOB, "team", now=datetime.now(UTC), ahead=None)
    bucket = MemoryCloud().bucket("results")
    bucket.put(former, stored(job_id, digest))
    assert await find_result(bucket, record.place) is None
    earlier = record.model_copy(update={"manifest": former})
    assert (await find_result(bucket, earlier.place) is not None) is found


@pytest.mark.parametrize(
    ("where", "is_end"),
    [
        (lambda job: ResultKeys.of(job).manifest, True),
        (lambda job: ResultKeys.of(job).manifests[1], True),
        (lambda job: ResultKeys.of(job).manifest[:-20] + ".out", False),
        (lambda _: ResultKeys.of(OTHER).manifest, False),
        (lambda _: keys_of("output/order-1", "-"), False),
        (lambda _: None, False),
    ],
)
def test_news_of_another_content_under_the_same_id_end_no_job(
    where: Callable[..., str | None], is_end: bool
) -> None:
    key = where(JOB)
    url = None if key is None else f"s3://results/{key}"
    news = Notification(runtime="r", id="order-1", status="completed", result=True, output_url=url)
    assert WHOLE.ends_by(news) is is_end
    assert not WHOLE.ends_by(news.model_copy(update={"id": "order-2"}))


ELSEWHERE = [
    "s3://results/output/order-2/order-2-0-1.png",
    "s3://results/gateway/jobs/order-1.json",
    "s3://results/output/order-1/sub/x.png",
    "s3://results/output/order-1/../order-2/x.png",
    "s3://results/output/order-1/",
    "s3://results/other/output/order-1/x.png",
    "s3://results/payloads/order-1-0.json",
    "https://example.com/output/x.png",
    "order-1-1.png",
]


@pytest.mark.parametrize("url", ELSEWHERE)
@pytest.mark.parametrize("place", [BY_ID, WHOLE], ids=["by id", "by digest"])
async def test_a_result_has_files_only_that_lie_beside_its_manifest(
    place: ResultLocation, url: str
) -> None:
    keys = ResultKeys.of(JOB)
    own = f"s3://results/{keys.artifact(1, 'image/png')}"
    images = [image(own), image(url)]
    result = Result(
        runtime="r", id=JOB.id, digest=JOB.digest, status="completed", result=True,
        images=images, image_url=[own, url],
    )  # fmt: skip
    bucket = MemoryCloud().bucket("results")
    bucket.put(keys.manifest, result.model_dump_json().encode())
    found = await find_result(bucket, place)
    assert found is not None
    assert (found.images, found.image_url) == (images[:1], [own])


@pytest.mark.parametrize(
    "url",
    [
        "s3://elsewhere/a.png",
        "s3://results/../elsewhere/a.png",
        "s3://results/a/..",
        "https://results/a.png",
        "results/a.png",
        "s3://Results/a.png",
    ],
)
async def test_a_client_downloads_from_the_bucket_of_results_only(url: str) -> None:
    cloud = MemoryCloud()
    cloud.bucket("results").put("a.png", b"picture")
    cloud.bucket("elsewhere").put("a.png", b"secret")
    client = Client(cloud, bucket="results")
    assert await client.download(image("s3://results/a.png")) == b"picture"
    with pytest.raises(Rejected):
        await client.download(image(url))
