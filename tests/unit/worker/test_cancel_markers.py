"""Cancel markers are looked for together, and each by itself where that cannot tell."""

import asyncio
import math

import pytest

from queue_agent.cloud.memory import Faults, MemoryBucket
from queue_agent.wire.errors import JobCancelled, Unavailable
from queue_agent.wire.job import Job, Metadata
from queue_agent.wire.layout import CANCEL_MARKERS, cancel_marker
from queue_agent.worker.cancel_markers import CancelMarkers
from queue_agent.worker.cancellation import CancellationWatch


class Markers(MemoryBucket):
    """A bucket that cancel markers are put into; tells what was asked of it."""

    def __init__(self, *, listable: bool = True) -> None:
        self.faults = Faults()
        super().__init__("results", faults=self.faults)
        if not listable:
            forbidden = Unavailable("forbidden", type="cloud_unauthorized")
            self.faults.fail("bucket.keys", forbidden, times=math.inf)

    @property
    def listings(self) -> int:
        return sum(call.operation == "bucket.keys" for call in self.faults.calls)

    @property
    def questions(self) -> list[str]:
        return [call.subject for call in self.faults.calls if call.operation == "bucket.exists"]

    def cancel(self, *ids: str) -> None:
        for job_id in ids:
            self.put(cancel_marker(job_id), b"")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def seen(markers: CancelMarkers, *ids: str) -> list[str]:
    looks = await asyncio.gather(*(markers.look(job_id) for job_id in ids))
    return [job_id for job_id, look in zip(ids, looks, strict=True) if look.cancelled]


async def test_jobs_that_ask_together_share_one_listing() -> None:
    bucket = Markers()
    bucket.cancel("b", "_x.y-z", "other")
    markers = CancelMarkers(bucket, freshness=1.0)
    assert await seen(markers, "a", "b", "c", "_x.y-z") == ["b", "_x.y-z"]
    assert (bucket.listings, bucket.questions) == (1, [])


async def test_what_was_seen_is_told_again_until_it_is_no_longer_fresh() -> None:
    bucket, clock = Markers(), Clock()
    markers = CancelMarkers(bucket, freshness=1.0, now=clock)
    assert await seen(markers, "a") == []
    bucket.cancel("a")
    clock.now = 0.9
    assert await seen(markers, "a") == []
    clock.now = 1.0
    assert await seen(markers, "a") == ["a"]
    assert bucket.listings == 2


async def test_a_listing_under_way_outlives_the_job_that_asked_for_it() -> None:
    bucket = Markers()
    bucket.cancel("b")
    listing = bucket.faults.hold("bucket.keys")
    markers = CancelMarkers(bucket, freshness=1.0)
    first = asyncio.create_task(markers.look("a"))
    await listing.reached.wait()
    second = asyncio.create_task(markers.look("b"))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    listing.release()
    assert (await second).cancelled
    assert bucket.listings == 1


@pytest.mark.parametrize("wanted", ["0001", "0999", "1000"])
async def test_among_more_markers_than_are_listed_each_job_asks_for_its_own(wanted: str) -> None:
    bucket = Markers()
    bucket.cancel(*(f"{number:04}" for number in range(1001)))
    markers = CancelMarkers(bucket, freshness=1.0)
    assert await seen(markers, wanted, "2000") == [wanted]
    assert bucket.questions == [cancel_marker(wanted), cancel_marker("2000")]


@pytest.mark.parametrize("obstacle", ["forbidden", "too many"])
async def test_a_listing_that_cannot_tell_is_tried_again_a_minute_later(obstacle: str) -> None:
    bucket, clock = Markers(listable=obstacle != "forbidden"), Clock()
    if obstacle == "too many":
        bucket.cancel(*(f"old-{number}" for number in range(1001)))
    bucket.cancel("a")
    markers = CancelMarkers(bucket, freshness=1.0, now=clock)
    for clock.now in (0.0, 2.0, 59.0):
        assert await seen(markers, "a", "b") == ["a"]
    assert bucket.listings == 1
    clock.now = 60.0
    assert await seen(markers, "a", "b") == ["a"]
    assert bucket.listings == 2


async def test_without_freshness_each_job_asks_for_itself() -> None:
    bucket = Markers()
    bucket.cancel("a")
    assert await seen(CancelMarkers(bucket, freshness=0), "a", "b") == ["a"]
    assert (bucket.listings, len(bucket.questions)) == (0, 2)


@pytest.mark.parametrize("poll", [0.01, 0])
@pytest.mark.parametrize("listable", [True, False], ids=["listed", "asked for"])
async def test_a_job_cancelled_before_it_was_received_is_not_worked_on(
    listable: bool, poll: float
) -> None:
    bucket = Markers(listable=listable)
    bucket.cancel("unwanted")
    watch = CancellationWatch(bucket, poll=poll)
    with pytest.raises(JobCancelled):
        async with watch.wanted(job("unwanted")):
            await asyncio.Event().wait()


@pytest.mark.parametrize("listable", [True, False], ids=["listed", "asked for"])
async def test_jobs_cancelled_while_they_are_worked_on_are_stopped(listable: bool) -> None:
    bucket = Markers(listable=listable)
    watch = CancellationWatch(bucket, poll=0.01)
    begun = [asyncio.Event() for _ in range(3)]

    async def work(number: int) -> None:
        async with watch.wanted(job(f"job-{number}")):
            begun[number].set()
            await asyncio.Event().wait()

    works = [asyncio.create_task(work(number)) for number in range(3)]
    for event in begun:
        await event.wait()
    bucket.cancel("job-0", "job-2")
    for number in (0, 2):
        with pytest.raises(JobCancelled):
            await works[number]
    assert not works[1].done()
    works[1].cancel()
    await asyncio.wait(works)


async def test_with_no_poll_a_job_that_is_worked_on_looks_only_once() -> None:
    bucket = Markers()
    watch = CancellationWatch(bucket, poll=0)
    async with watch.wanted(job("a")):
        for _ in range(5):
            await asyncio.sleep(0)
        bucket.cancel("a")
        for _ in range(5):
            await asyncio.sleep(0)
    assert bucket.questions == [f"{CANCEL_MARKERS}a"]


def job(job_id: str) -> Job:
    return Job(metadata=Metadata(id=job_id, tasktype="text-to-image"), content={})
