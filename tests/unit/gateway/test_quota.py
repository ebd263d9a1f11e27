"""Unfinished jobs are counted exactly, however many gateways take them at the same moment."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI

from gateway_bench import Gateways, client_of
from queue_agent.client.client import Client
from queue_agent.cloud.memory import MemoryBucket
from queue_agent.gateway.keys import Caller
from queue_agent.gateway.quota import Quota, QuotaSlot
from queue_agent.wire.errors import Unanswered, Unavailable
from queue_agent.wire.job import parse_job
from queue_agent.wire.layout import ResultKeys
from queue_agent.wire.problems import Problem
from queue_agent.wire.result import Result

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def submit(app: FastAPI, owner: str, job_id: str | None = None, prompt: str = "a") -> int:
    async with client_of(app, owner) as client:
        body = {"metadata": {"id": job_id}, "content": {"prompt": prompt}}
        return (await client.post("/v1/jobs", json=body)).status_code


async def end(gateways: Gateways, number: int, *, retryable: bool = False) -> None:
    """The end of the `number`-th job that was published."""
    job = parse_job(gateways.cloud.topic("jobs").published[number].body)
    error: Any = {"type": "x", "message": "x", "retryable": True, "final": True}
    result = Result(
        runtime="sdruntime", id=job.id, digest=job.digest, result=not retryable,
        status="failed" if retryable else "completed", error=error if retryable else None,
    )  # fmt: skip
    await gateways.bucket.write(
        ResultKeys.of(job).manifest,
        result.model_dump_json().encode(),
        media_type="application/json",
    )


@pytest.mark.parametrize("gateways_count", [1, 2, 3])
@pytest.mark.parametrize("limit", [1, 2, 7])
async def test_of_thirty_at_once_as_many_are_taken_as_are_allowed(
    gateways: Gateways, gateways_count: int, limit: int
) -> None:
    gateways.allow("once", limit)
    apps = [await gateways.start(keys=True) for _ in range(gateways_count)]
    statuses = await asyncio.gather(
        *(submit(apps[number % gateways_count], "once") for number in range(30))
    )
    assert Counter(statuses) == {202: limit, 429: 30 - limit}
    assert len(gateways.cloud.topic("jobs").published) == limit


async def test_the_slot_of_a_job_that_ended_is_taken_again_by_one(gateways: Gateways) -> None:
    apps = [await gateways.start(keys=True, poll=1e-9) for _ in range(2)]
    for number in range(4):
        statuses = await asyncio.gather(*(submit(apps[n % 2], "once") for n in range(10)))
        assert Counter(statuses) == {202: 1, 429: 9}
        await end(gateways, number)
    slots = [key for key in gateways.bucket.objects if key.startswith("gateway/slots/")]
    assert len(slots) == 1


async def test_the_same_job_again_takes_no_second_slot(gateways: Gateways) -> None:
    app = await gateways.start(keys=True, poll=1e-9)
    assert [await submit(app, "once", "a") for _ in range(3)] == [202] * 3
    await end(gateways, 0, retryable=True)
    assert await submit(app, "once", "a") == 202
    gateways.allow("once", 2)
    assert await submit(app, "once", "b") == 202
    assert await submit(app, "once", "c") == 429


async def test_who_has_no_quota_is_not_counted(gateways: Gateways) -> None:
    app = await gateways.start(keys=True)
    statuses = await asyncio.gather(*(submit(app, "one") for _ in range(10)))
    assert set(statuses) == {202}
    assert not [key for key in gateways.bucket.objects if key.startswith("gateway/slots/")]


async def test_a_job_that_could_not_be_published_holds_no_slot(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = await gateways.start(keys=True)

    async def fail(*_: object, **__: object) -> None:
        raise Unavailable("The topic is away.")

    with monkeypatch.context() as patch:
        patch.setattr(Client, "submit", fail)
        assert await submit(app, "once") == 503
    assert [await submit(app, "once"), await submit(app, "once")] == [202, 429]


async def test_a_job_that_may_have_been_published_stays_on_record(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = await gateways.start(keys=True)

    async def lose_answer(*_: object, **__: object) -> None:
        raise Unanswered("The connection broke.")

    with monkeypatch.context() as patch:
        patch.setattr(Client, "submit", lose_answer)
        assert await submit(app, "once") == 503
    assert len([key for key in gateways.bucket.objects if key.startswith("gateway/jobs/")]) == 1


async def test_a_gateway_that_dies_leaves_no_slot_taken_for_ever() -> None:
    caller, ended = Caller("team", 0, 1), set[str]()

    def is_over(_: Caller) -> Any:
        async def over(job_id: str) -> bool | None:
            return True if job_id in ended else None

        return over

    quota = Quota(MemoryBucket("b"), is_over)
    assert await quota.take(caller, "dead", known=False, now=NOW)
    with pytest.raises(Problem):
        await quota.take(caller, "b", known=False, now=NOW + timedelta(minutes=1))
    assert await quota.take(caller, "b", known=False, now=NOW + timedelta(minutes=6))


async def test_who_looked_long_ago_takes_nothing_from_who_came_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its view is of a generation that was over, and has been followed twice since."""
    caller, bucket = Caller("team", 0, 1), MemoryBucket("b")

    def always(_: Caller) -> Any:
        async def over(_: str) -> bool:
            return True

        return over

    quota = Quota(bucket, always)
    first = await quota.take(caller, "a", known=False, now=NOW)
    assert first is not None
    await quota.take(caller, "b", known=False, now=NOW)
    last = await quota.take(caller, "c", known=False, now=NOW)
    assert last is not None
    held, views = quota._held, [{1: first}]

    async def stale_at_first(owner: Caller) -> dict[int, QuotaSlot]:
        return views.pop() if views else await held(owner)

    monkeypatch.setattr(quota, "_held", stale_at_first)
    taken = await quota.take(caller, "late", known=False, now=NOW)
    assert taken == last.following
    assert list(bucket.objects) == [last.following.key]
