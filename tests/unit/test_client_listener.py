"""Who waits for a job is woken by its notifications, and loses nothing when they are lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from queue_agent.client.follow import follow
from queue_agent.client.listener import Listener
from queue_agent.client.results import ResultLocation
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.notification import ErrorReport, Notification, Status
from queue_agent.wire.result import Result

PLACE = ResultLocation("output/j", "j")


def note(status: Status, *, progress: float | None = None, retryable: bool = False) -> Notification:
    error = ErrorReport(type="x", message="x", retryable=retryable, final=True)
    return Notification(
        runtime="r", id="j", status=status, result=status == "completed", progress=progress,
        error=error if status == "failed" else None,
    )  # fmt: skip


def silent() -> Listener:
    """A listener that only hears what the test tells it."""

    @asynccontextmanager
    async def subscribe() -> AsyncIterator[AsyncIterator[Notification]]:
        raise AssertionError
        yield

    return Listener(subscribe)


async def nothing() -> Result | None:
    return None


async def statuses(listener: Listener, *, poll: float = 60) -> list[tuple[str, float | None]]:
    async with aclosing(follow(listener, PLACE, nothing, poll=poll)) as news:
        return [(event.status, event.progress) async for event in news]


async def test_progress_is_told_as_it_comes_and_the_end_ends_it() -> None:
    listener = silent()
    told: list[float | None] = []
    async with aclosing(follow(listener, PLACE, nothing, poll=60)) as news:
        for progress in (0.1, 0.5):
            listener.hear(note("running", progress=progress))
            told.append((await anext(news)).progress)
        listener.hear(note("completed"))
        assert (await anext(news)).status == "completed"
        assert await anext(news, None) is None
    assert told == [0.1, 0.5]


async def test_a_stage_before_the_run_is_told_though_progress_stays_as_it_was() -> None:
    listener = silent()
    told: list[str | None] = []
    async with aclosing(follow(listener, PLACE, nothing, poll=60)) as news:
        for stage in ("fetching model a", "fetching model b", None):
            listener.hear(note("running", progress=0.0).model_copy(update={"stage": stage}))
            told.append((await anext(news)).stage)
    assert told == ["fetching model a", "fetching model b", None]


async def test_progress_that_arrives_after_the_end_is_ignored() -> None:
    listener = silent()
    listener.hear(note("completed"))
    listener.hear(note("running", progress=0.9))
    assert await statuses(listener) == [("completed", None)]


def test_of_too_many_jobs_those_heard_of_lately_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queue_agent.client.listener._JOBS_REMEMBERED", 2)
    listener = silent()
    for job_id in ("first", "second", "first", "third"):
        listener.hear(note("running").model_copy(update={"id": job_id}))
    heard = [job_id for job_id in ("first", "second", "third") if listener.latest(job_id)]
    assert heard == ["first", "third"]


async def test_after_a_passing_failure_a_new_attempt_is_heard() -> None:
    listener = silent()
    listener.hear(note("failed", retryable=True))
    listener.hear(note("running", progress=0.2))
    latest = listener.latest("j")
    assert latest is not None
    assert latest.status == "running"


async def test_an_end_that_was_never_announced_is_found_in_the_bucket() -> None:
    looks = 0

    async def look() -> Result | None:
        nonlocal looks
        looks += 1
        return Result(runtime="r", id="j", status="completed", result=True) if looks == 3 else None

    async with aclosing(follow(silent(), PLACE, look, poll=0.01)) as news:
        assert [event.status async for event in news] == ["completed"]


async def test_a_subscription_that_cannot_be_made_is_made_again() -> None:
    attempts = 0

    @asynccontextmanager
    async def subscribe() -> AsyncIterator[AsyncIterator[Notification]]:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise Unavailable("not now")

        async def heard() -> AsyncIterator[Notification]:
            yield note("completed")
            await asyncio.Event().wait()

        yield heard()

    listener = Listener(subscribe, pause=0.01)
    async with listener.listening():
        assert await listener.ready(patience=90)
        assert (await statuses(listener))[-1][0] == "completed"
    assert attempts == 2
    assert listener.missing == "runtime_unavailable"


async def test_listening_ends_although_the_subscription_cannot_be_removed() -> None:
    @asynccontextmanager
    async def subscribe() -> AsyncIterator[AsyncIterator[Notification]]:
        try:
            yield endless()
        finally:
            raise Unavailable("The cloud does not answer.")

    async def endless() -> AsyncIterator[Notification]:
        await asyncio.Event().wait()
        yield note("completed")

    async with asyncio.timeout(90):
        listener = Listener(subscribe)
        async with listener.listening():
            assert await listener.ready(patience=90)
