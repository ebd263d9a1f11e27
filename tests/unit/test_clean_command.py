"""`queue-agent clean` removes from the bucket what no message in a queue can need any more."""

from collections.abc import Sequence

import pytest

from queue_agent.cli.clean import clean
from queue_agent.client import Client
from queue_agent.cloud.memory import ManualClock, MemoryCloud
from queue_agent.wire.errors import Rejected

DAY = 86_400.0
OLD = ("cancelled/old", "checkpoints/sd/old-digest/0001", "payloads/old-digest.json")
NEW = ("cancelled/new", "checkpoints/sd/new-digest/0001", "payloads/new-digest.json")
KEPT = ("inputs/digest.png", "output/old/old-digest-1.png", "runtimes/sd.json")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def cloud(clock: ManualClock) -> MemoryCloud:
    cloud = MemoryCloud(clock)
    await write(cloud, *OLD, *KEPT)
    clock.advance(8 * DAY)
    await write(cloud, *NEW)
    clock.advance(7 * DAY)
    return cloud


async def write(cloud: MemoryCloud, *names: str) -> None:
    for key in names:
        await cloud.bucket("results").write(key, b"something", media_type="text/plain")


async def left(cloud: MemoryCloud) -> Sequence[str]:
    return await cloud.bucket("results").keys("")


async def cleaned(client: Client, *, dry: bool = False) -> None:
    await clean(client, age=3600, dry=dry)


async def test_cleaning_removes_what_is_older_than_any_message_and_nothing_else(
    cloud: MemoryCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    await cleaned(Client(cloud, bucket="results"))
    assert await left(cloud) == sorted(NEW + KEPT)
    said = capsys.readouterr()
    assert said.out.split() == sorted(OLD)
    assert "3 objects of jobs that are long over were removed" in said.err


async def test_cleaning_goes_through_more_than_one_page(
    cloud: MemoryCloud, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    many = [f"checkpoints/sd/job-{number:04}/0001" for number in range(1500)]
    await write(cloud, *many)
    clock.advance(15 * DAY)
    await cleaned(Client(cloud, bucket="results"))
    assert await left(cloud) == sorted(KEPT)
    assert len(capsys.readouterr().out.split()) == len([*many, *OLD, *NEW])


async def test_a_dry_run_of_cleaning_only_shows_objects(
    cloud: MemoryCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    await cleaned(Client(cloud, bucket="results"), dry=True)
    assert await left(cloud) == sorted(OLD + NEW + KEPT)
    assert capsys.readouterr().out.split() == sorted(OLD)


async def test_cleaning_without_a_bucket_looks_into_none(cloud: MemoryCloud) -> None:
    await cleaned(Client(cloud))
    assert await left(cloud) == sorted(OLD + NEW + KEPT)


async def test_a_bucket_that_may_not_be_cleaned_is_only_mentioned(
    cloud: MemoryCloud, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(key: str) -> None:
        raise Rejected(f"may not delete {key}")

    monkeypatch.setattr(cloud.bucket("results"), "delete", refused)
    await cleaned(Client(cloud, bucket="results"))
    assert await left(cloud) == sorted(OLD + NEW + KEPT)
    said = capsys.readouterr()
    assert "may not delete cancelled/old" in " ".join(said.err.split())
    assert said.out == ""
