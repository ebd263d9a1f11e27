"""Whatever the order in which agents keep what they have done of a job, the furthest is there."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from queue_agent.cloud.memory import Faults, MemoryBucket
from queue_agent.runtime import Checkpoint
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.job import Job
from queue_agent.wire.layout import CheckpointPlace, checkpoints_folder
from queue_agent.worker.checkpoint_folder import CheckpointFolder

pytestmark = pytest.mark.looptime

NAME = "sdruntime"
JOB = Job.model_validate(
    {"metadata": {"id": "a", "tasktype": "text-to-image"}, "content": {"prompt": "a lighthouse"}}
)
LIMIT = 100


class SlowBucket(MemoryBucket):
    """Does what it is asked at moments of its own choice; notes how far the furthest is."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__("results")
        self.furthest = [0]
        """After each change."""
        self._chance = chance

    async def _pause(self) -> None:
        await asyncio.sleep(self._chance.expovariate(1.0))

    async def keys(self, prefix: str, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        await self._pause()
        found = await super().keys(prefix, after=after, limit=limit)
        await self._pause()
        return found

    async def write(self, key: str, data: bytes, **options: object) -> None:  # type: ignore[override]
        await self._pause()
        await super().write(key, data, **options)  # type: ignore[arg-type]
        self._note()

    async def delete(self, key: str) -> None:
        await self._pause()
        await super().delete(key)
        self._note()

    def _note(self) -> None:
        self.furthest.append(max((place.done for place in places(self)), default=0))


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def bucket(faults: Faults) -> MemoryBucket:
    return MemoryBucket("results", faults=faults)


def folder(bucket: MemoryBucket, attempt: int) -> CheckpointFolder:
    return CheckpointFolder(bucket, NAME, JOB, attempt)


def places(bucket: MemoryBucket) -> list[CheckpointPlace]:
    found = [CheckpointPlace.of(key) for key in bucket.objects]
    return sorted(place for place in found if place)


def done(steps: int) -> Checkpoint:
    return Checkpoint(str(steps).encode(), steps)


async def working(bucket: MemoryBucket, attempt: int, steps: Sequence[int]) -> None:
    """An attempt that goes on from what it finds, and keeps what it has done from time to time."""
    own = folder(bucket, attempt)
    taken_up = int(await own.latest(limit=LIMIT) or b"0")
    for more in steps:
        if not own.superseded:
            await own.add(done(taken_up + more))


@pytest.mark.parametrize("seed", range(20))
async def test_what_is_further_is_never_lost_to_what_is_less_far(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  no secret
    bucket = SlowBucket(chance)
    async with asyncio.TaskGroup() as attempts:
        for _ in range(5):
            steps = sorted(chance.sample(range(1, 50), 6))
            attempts.create_task(working(bucket, chance.randint(1, 3), steps))
            await asyncio.sleep(chance.uniform(0, 10))
    assert bucket.furthest == sorted(bucket.furthest)
    taken_up = await folder(bucket, 9).latest(limit=LIMIT)
    assert taken_up == str(bucket.furthest[-1]).encode()


async def test_a_write_that_is_long_on_its_way_replaces_nothing(
    bucket: MemoryBucket, faults: Faults
) -> None:
    slow, fast = folder(bucket, 1), folder(bucket, 1)
    held = faults.hold("bucket.write")
    late = asyncio.create_task(slow.add(done(5)))
    await held.reached.wait()
    assert await fast.add(done(8))
    held.release()
    await late
    assert await folder(bucket, 2).latest(limit=LIMIT) == b"8"


async def test_an_attempt_stops_once_a_later_one_keeps_what_it_does(bucket: MemoryBucket) -> None:
    stale, later = folder(bucket, 1), folder(bucket, 2)
    assert await stale.add(done(5))
    assert await later.latest(limit=LIMIT) == b"5"
    assert await stale.add(done(7)), "nothing shows yet that there is another"
    assert not await later.add(done(6)), "the stale one is further"
    assert not later.superseded
    assert await later.add(done(8))
    assert not await stale.add(done(9))
    assert stale.superseded
    assert places(bucket) == [CheckpointPlace(8, 2)]


async def test_an_attempt_stops_once_the_job_has_ended_elsewhere(bucket: MemoryBucket) -> None:
    stale, later = folder(bucket, 1), folder(bucket, 2)
    await stale.add(done(5))
    await later.latest(limit=LIMIT)
    await later.clear()
    assert not await stale.add(done(9))
    assert stale.superseded
    assert places(bucket) == []


async def test_what_was_taken_up_in_vain_gives_way_to_what_is_less_far(
    bucket: MemoryBucket,
) -> None:
    await folder(bucket, 1).add(done(50))
    updated = folder(bucket, 2)
    assert await updated.latest(limit=LIMIT) == b"50"
    assert await updated.add(done(3)), "the run began anew"
    assert await folder(bucket, 3).latest(limit=LIMIT) == b"3"


async def test_what_could_not_be_read_does_not_give_way_to_what_is_less_far(
    bucket: MemoryBucket, faults: Faults
) -> None:
    await folder(bucket, 1).add(done(50))
    second = folder(bucket, 2)
    faults.fail("bucket.read", Unavailable("not now"))
    with pytest.raises(Unavailable):
        await second.latest(limit=LIMIT)
    assert not await second.add(done(3))
    assert not second.superseded
    assert await folder(bucket, 3).latest(limit=LIMIT) == b"50"


async def test_deliveries_that_are_counted_anew_come_after_those_before(
    bucket: MemoryBucket,
) -> None:
    await folder(bucket, 4).add(done(5))
    again = folder(bucket, 1)
    assert await again.latest(limit=LIMIT) == b"5"
    assert await again.add(done(8))
    assert places(bucket) == [CheckpointPlace(8, 5)]


async def test_what_is_removed_while_it_is_to_be_read_has_a_successor(
    bucket: MemoryBucket, faults: Faults
) -> None:
    first = folder(bucket, 1)
    await first.add(done(5))
    held = faults.hold("bucket.read")
    reading = asyncio.create_task(folder(bucket, 2).latest(limit=LIMIT))
    await held.reached.wait()
    await first.add(done(8))
    held.release()
    assert await reading == b"8"


async def test_an_answer_that_was_lost_is_no_other_attempt(
    bucket: MemoryBucket, faults: Faults
) -> None:
    own = folder(bucket, 1)
    faults.lose_answer("bucket.write")
    with pytest.raises(Unavailable):
        await own.add(done(5))
    assert await own.add(done(5))
    assert await own.add(done(6))
    assert places(bucket) == [CheckpointPlace(6, 1)]


async def test_another_file_there_is_passed_over(bucket: MemoryBucket) -> None:
    bucket.put(checkpoints_folder(NAME, JOB) + "0001", b"of another version")
    own = folder(bucket, 2)
    assert await own.latest(limit=LIMIT) is None
    assert await own.add(done(1))
    assert await folder(bucket, 3).latest(limit=LIMIT) == b"1"
    assert checkpoints_folder(NAME, JOB) + "0001" in bucket.objects
