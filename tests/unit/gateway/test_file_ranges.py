"""Files through the gateway, whole or in parts, read while they are sent."""

import hashlib
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway_bench import Gateways, client_of
from queue_agent.cloud import ObjectPart
from queue_agent.gateway import files
from queue_agent.wire.job import parse_job
from queue_agent.wire.layout import ResultKeys
from queue_agent.wire.notification import Image
from queue_agent.wire.result import Result

PATH = "/v1/jobs/a/images/1"
DATA = bytes(range(256)) * 40
KEY = "output/a/a-1.mp4"
TAG = f'"{hashlib.sha256(DATA).hexdigest()}"'


@pytest.fixture
async def api(gateways: Gateways) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway with one finished job, which made a video of 10,240 bytes."""
    app = await gateways.start(poll=1e-9)
    async with client_of(app) as client:
        body = {"metadata": {"id": "a"}, "content": {"prompt": "a"}}
        assert (await client.post("/v1/jobs", json=body)).status_code == 202
        job = parse_job(gateways.cloud.topic("jobs").published[0].body)
        image = Image(
            url=gateways.bucket.url(KEY),
            media_type="video/mp4",
            bytes=len(DATA),
            sha256=hashlib.sha256(DATA).hexdigest(),
        )
        result = Result(
            runtime="sdruntime", id="a", digest=job.digest, status="completed", result=True,
            images=[image],
        )  # fmt: skip
        gateways.bucket.put(KEY, DATA, "video/mp4")
        gateways.bucket.put(ResultKeys.of(job).manifest, result.model_dump_json().encode())
        yield client


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_PIECE", 1000)


async def test_without_a_range_all_of_it_comes_with_its_length(api: httpx.AsyncClient) -> None:
    answer = await api.get(PATH)
    assert (answer.status_code, answer.content) == (200, DATA)
    told = {name: answer.headers[name] for name in ("content-length", "accept-ranges", "etag")}
    assert told == {"content-length": "10240", "accept-ranges": "bytes", "etag": TAG}


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-1", 0, 1),
        ("bytes=0-", 0, 10_239),
        ("bytes=999-1000", 999, 1000),
        ("bytes=500-9999", 500, 9999),
        ("bytes=10239-", 10_239, 10_239),
        ("bytes=10000-99999", 10_000, 10_239),
        ("bytes=-1", 10_239, 10_239),
        ("bytes=-99999", 0, 10_239),
        ("Bytes=5-5", 5, 5),
    ],
)
async def test_a_part_of_it_comes_as_such(
    api: httpx.AsyncClient, asked: str, first: int, last: int
) -> None:
    answer = await api.get(PATH, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == DATA[first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/10240"
    assert answer.headers["content-length"] == str(last + 1 - first)
    assert answer.headers["content-type"] == "video/mp4"


@pytest.mark.parametrize("asked", ["bytes=10240-", "bytes=99999-100000", "bytes=-0"])
async def test_a_part_that_is_not_there_is_refused(api: httpx.AsyncClient, asked: str) -> None:
    answer = await api.get(PATH, headers={"Range": asked})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */10240"
    assert answer.json()["type"] == "urn:queue-agent:problem:no-such-part"


@pytest.mark.parametrize(
    "asked",
    ["bytes=0-1,5-6", "bytes=5-2", "bytes=-", "lines=0-1", "bytes", "", "bytes=a-b",
     "bytes=+1-2", "bytes=0x1-2", "bytes=" + "9" * 40 + "-"],
)  # fmt: skip
async def test_what_is_no_range_counts_as_none(api: httpx.AsyncClient, asked: str) -> None:
    answer = await api.get(PATH, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, DATA)


@pytest.mark.parametrize(
    ("condition", "status"),
    [(TAG, 206), ('"another"', 200), (f"W/{TAG}", 200), ("Sat, 28 Nov 2026 10:00:00 GMT", 200)],
)
async def test_a_part_is_of_the_version_that_is_meant(
    api: httpx.AsyncClient, condition: str, status: int
) -> None:
    answer = await api.get(PATH, headers={"Range": "bytes=0-1", "If-Range": condition})
    assert answer.status_code == status


@pytest.mark.parametrize("condition", [TAG, f"W/{TAG}", f'"other", {TAG}', "*"])
async def test_what_a_browser_has_is_not_sent_again(api: httpx.AsyncClient, condition: str) -> None:
    answer = await api.get(PATH, headers={"If-None-Match": condition})
    assert (answer.status_code, answer.content) == (304, b"")
    assert (await api.get(PATH, headers={"If-None-Match": '"other"'})).status_code == 200


async def test_no_more_of_it_is_read_than_is_sent(
    api: httpx.AsyncClient, gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, int]] = []
    original = gateways.bucket.read_range

    async def watched(key: str, start: int, size: int) -> ObjectPart:
        read.append((start, size))
        return await original(key, start, size)

    monkeypatch.setattr(gateways.bucket, "read_range", watched)
    await api.get(PATH, headers={"Range": "bytes=100-2199"})
    assert read == [(100, 1000), (1100, 1000), (2100, 100)]


async def test_a_file_that_is_no_longer_kept_is_gone(
    api: httpx.AsyncClient, gateways: Gateways
) -> None:
    await gateways.bucket.delete(KEY)
    for headers in ({}, {"Range": "bytes=0-1"}):
        assert (await api.get(PATH, headers=headers)).status_code == 410


@pytest.mark.parametrize("there", [b"", b"short", DATA * 2])
async def test_what_lies_there_counts_and_not_what_was_written_of_it(
    api: httpx.AsyncClient, gateways: Gateways, there: bytes
) -> None:
    gateways.bucket.put(KEY, there, "video/mp4")
    answer = await api.get(PATH)
    assert (answer.status_code, answer.content) == (200, there)
    if there:
        answer = await api.get(PATH, headers={"Range": "bytes=-3"})
        assert (answer.status_code, answer.content) == (206, there[-3:])
        assert answer.headers["content-range"].endswith(f"/{len(there)}")
