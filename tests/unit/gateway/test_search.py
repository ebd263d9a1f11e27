"""Jobs are found by words, runtime and status, however many others there are."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from gateway_bench import Gateways, client_of
from queue_agent.gateway.records import Record, Records
from queue_agent.wire.job import Job, parse_job
from queue_agent.wire.layout import ResultKeys
from queue_agent.wire.result import Result

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def job(job_id: str, content: dict[str, Any], runtime: str = "sdruntime") -> Job:
    task_type = "pipeline" if "workflow" in content else "text-to-image"
    metadata = {"id": job_id, "runtime": runtime, "tasktype": task_type, "prefix": "output"}
    return parse_job(json.dumps({"metadata": metadata, "content": content}))


class History:
    """What one owner asked for, one job a second."""

    def __init__(self, gateways: Gateways) -> None:
        self._bucket = gateways.bucket
        self._records = Records(gateways.bucket)
        self._length = 0

    async def add(
        self, job_id: str, content: dict[str, Any], status: str | None = None, **at: str
    ) -> None:
        """A job, ended as `status` if that is one."""
        made = job(job_id, content, **at)
        self._length += 1
        now = NOW + timedelta(seconds=self._length)
        await self._records.add(Record.of(made, "everyone", now=now, ahead=None))
        if status is None:
            return
        error: Any = {"type": "x", "message": "x", "retryable": False, "final": True}
        result = Result(
            runtime="sdruntime", id=made.id, digest=made.digest, result=status == "completed",
            status=status, error=None if status == "completed" else error,
        )  # fmt: skip
        await self._bucket.write(
            ResultKeys.of(made).manifest,
            result.model_dump_json().encode(),
            media_type="application/json",
        )


@pytest.fixture
async def history(gateways: Gateways) -> History:
    return History(gateways)


async def found(api: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await api.get("/v1/jobs", params=query)
    assert answer.status_code == 200, answer.text
    return [view["id"] for view in answer.json()["jobs"]]


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("lighthouse", ["dusk-2", "dusk-1"]),
        ("DUSK lightHouse", ["dusk-2", "dusk-1"]),
        ("storm", ["dusk-2"]),
        ("cat", ["flow-1"]),
        ("portrait-flow", ["flow-1"]),
        ("dusk-1", ["dusk-1"]),
        ("straße", ["street"]),
        ("STRASSE", ["street"]),
        ("light lighthouse nowhere", []),
        ("  ", ["street", "flow-1", "dusk-2", "dusk-1"]),
    ],
)
async def test_words_are_found_in_ids_and_texts(
    gateways: Gateways, history: History, words: str, ids: list[str]
) -> None:
    await history.add("dusk-1", {"prompt": "a Lighthouse"})
    await history.add("dusk-2", {"prompt": "a lighthouse", "negative_prompt": "storm"})
    await history.add("flow-1", {"workflow": "portrait-flow", "inputs": {"names": ["a cat"]}})
    await history.add("street", {"prompt": "eine Straße"})
    async with client_of(await gateways.start()) as api:
        assert await found(api, q=words) == ids


async def test_jobs_are_found_by_status_and_runtime(gateways: Gateways, history: History) -> None:
    await history.add("waits", {"prompt": "a"})
    await history.add("made", {"prompt": "a"}, "completed")
    await history.add("broke", {"prompt": "a"}, "failed")
    await history.add("late", {"prompt": "a"}, "expired")
    await history.add("other", {"prompt": "a"}, "completed", runtime="comfyruntime")
    async with client_of(await gateways.start()) as api:
        assert await found(api, status="queued") == ["waits"]
        assert await found(api, status=["failed", "expired"]) == ["late", "broke"]
        assert await found(api, status="completed", runtime="sdruntime") == ["made"]
        assert await found(api, runtime="comfyruntime") == ["other"]
        assert await found(api, runtime="") == ["other", "late", "broke", "made", "waits"]
        assert (await api.get("/v1/jobs", params={"status": "lost"})).status_code == 422


@pytest.mark.parametrize("query", [{"q": "even"}, {"status": "completed"}])
@pytest.mark.parametrize("limit", [1, 3, 10])
async def test_pages_of_found_jobs_follow_each_other_without_gap_or_repetition(
    gateways: Gateways, history: History, query: dict[str, str], limit: int
) -> None:
    for number in range(13):
        parity, status = ("odd", "failed") if number % 2 else ("even", "completed")
        await history.add(f"job-{number}", {"prompt": parity}, status)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    async with client_of(await gateways.start()) as api:
        while True:
            page = (await api.get("/v1/jobs", params={**query, **cursor, "limit": limit})).json()
            seen += [view["id"] for view in page["jobs"]]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
    assert seen == [f"job-{number}" for number in range(12, -1, -2)]


async def test_one_request_goes_through_so_many_jobs_and_the_next_goes_on(
    gateways: Gateways, history: History
) -> None:
    await history.add("needle", {"prompt": "a needle"})
    for number in range(510):
        await history.add(f"hay-{number}", {"prompt": "hay"})
    async with client_of(await gateways.start()) as api:
        page = (await api.get("/v1/jobs", params={"q": "needle"})).json()
        assert page["jobs"] == []
        assert page["next"]
        assert await found(api, q="needle", cursor=page["next"]) == ["needle"]


async def test_nobody_finds_jobs_of_others(gateways: Gateways) -> None:
    app = await gateways.start(keys=True)
    async with client_of(app, "one") as one, client_of(app, "two") as two:
        asked = await one.post("/v1/jobs", json={"content": {"prompt": "a secret"}})
        assert await found(one, q="secret") == [asked.json()["id"]]
        assert await found(two, q="secret") == []
        assert await found(two, q=asked.json()["id"]) == []
