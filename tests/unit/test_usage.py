"""`queue-agent usage`: sums of what jobs have used, from their results."""

import csv
import io
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from queue_agent.cli.usage import moment, period, usage
from queue_agent.client import Client, UsageKey, UsagePeriod
from queue_agent.client import usage as client_usage
from queue_agent.cloud.memory import Clock, ManualClock, MemoryCloud
from queue_agent.wire.errors import SettingsError
from worker_bench import Bench, drawing

ALWAYS = UsagePeriod()
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def cloud_at(moment: datetime) -> tuple[MemoryCloud, Client]:
    clock: Clock = ManualClock(moment.timestamp())
    cloud = MemoryCloud(clock)
    return cloud, Client(cloud, bucket="images")


def put(cloud: MemoryCloud, name: str, folder: str = "output", **fields: Any) -> None:
    """The result of one job of ten seconds."""
    result = {
        "version": "1",
        "runtime": "sd",
        "id": name,
        "status": "completed",
        "result": True,
        "image_url": [f"s3://images/{folder}/{name}/{name}-1.png"],
        "gpu_seconds": 10.0,
        "cost": 0.005,
        "ended_at": NOON.isoformat(),
        "metadata": {},
        **fields,
    }
    key = f"{folder}/{name}/{name}-0123456789abcdef.out"
    cloud.bucket("images").put(key, json.dumps(result).encode())


async def lines(client: Client, *, period: UsagePeriod = ALWAYS, **options: Any) -> list[str]:
    usual: dict[str, Any] = {"prefixes": ["output"], "as_csv": True, "plot": None}
    return list(await usage(client, period=period, **usual | options))


async def rows(client: Client, **options: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("\n".join(await lines(client, **options)))))


async def test_jobs_are_summed_by_day_tenant_and_model() -> None:
    cloud, client = cloud_at(NOON)
    for number in range(3):
        put(cloud, f"a-{number}", metadata={"tenant": "shop"}, model="sdxl")
    put(cloud, "b", metadata={"tenant": "shop"}, model="sd15")
    put(cloud, "c", status="failed", image_url=[], gpu_seconds=2.5, cost=None)
    put(cloud, "d", ended_at="2026-01-03T00:30:00+01:00", metadata={"tenant": "shop"}, model="sdxl")
    cloud.bucket("images").put("output/a-0/a-0-0123456789abcdef-1.png", b"no manifest")
    found = await rows(client)
    assert found == [
        {
            "day": "2026-01-02",
            "tenant": "",
            "model": "",
            "jobs": "1",
            "completed": "0",
            "images": "0",
            "gpu_seconds": "2.500",
            "cost": "0",
        },
        {
            "day": "2026-01-02",
            "tenant": "shop",
            "model": "sd15",
            "jobs": "1",
            "completed": "1",
            "images": "1",
            "gpu_seconds": "10.000",
            "cost": "0.005",
        },
        {
            "day": "2026-01-02",
            "tenant": "shop",
            "model": "sdxl",
            "jobs": "4",
            "completed": "4",
            "images": "4",
            "gpu_seconds": "40.000",
            "cost": "0.02",
        },
    ]


@pytest.mark.parametrize(
    ("ended", "counts"),
    [
        ("2026-01-02T11:59:59Z", False),
        ("2026-01-02T12:00:00Z", True),
        ("2026-01-02T13:59:59+01:00", True),
        ("2026-01-02T14:00:00+01:00", False),
    ],
)
async def test_a_job_counts_where_it_ended_whenever_that_was_written(
    ended: str, counts: bool
) -> None:
    cloud, client = cloud_at(NOON)
    put(cloud, "a", ended_at=ended)
    period = UsagePeriod(NOON, NOON.replace(hour=13))
    assert bool(await rows(client, period=period)) is counts


async def test_what_an_agent_did_is_what_is_summed() -> None:
    bench = Bench(policy={"gpu_price": 1.8})
    bench.runtime.usually = drawing(0.05)
    async with bench.working():
        for number in range(3):
            content = {"prompt": "a", "model": "sdxl"}
            await bench.publish(f"job-{number}", content, tenant="shop")
            await bench.settled(f"job-{number}")
    client = Client(bench.cloud, bucket=bench.results.name)
    ((key, sums),) = (await client.usage(prefixes=["out"], period=ALWAYS)).rows
    assert (key.tenant, key.model) == ("shop", "sdxl")
    told = bench.manifests()
    assert sums.jobs == 3
    assert sums.gpu_seconds == pytest.approx(sum(one.gpu_seconds or 0 for one in told))
    assert sums.cost == pytest.approx(sum(one.cost or 0 for one in told))


@pytest.mark.parametrize(
    ("since", "until", "names"),
    [
        ("2026-01-02", None, {"second", "third"}),
        (None, "2026-01-02", {"first"}),
        ("2026-01-02", "2026-01-03", {"second"}),
        ("2026-01-01T12:30:00+01:00", "2026-01-02T00:00:00Z", {"first"}),
    ],
)
async def test_only_what_ended_in_the_period_counts(
    since: str | None, until: str | None, names: set[str]
) -> None:
    clock = ManualClock(datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp())
    cloud = MemoryCloud(clock)
    client = Client(cloud, bucket="images")
    for name in ("first", "second", "third"):
        ended = datetime.fromtimestamp(cloud.now(), UTC)
        put(cloud, name, ended_at=ended.isoformat(), model=name)
        clock.advance(86_400)
    period = UsagePeriod(moment(since, "--since"), moment(until, "--until"))
    assert {row["model"] for row in await rows(client, period=period)} == names
    read = {call.subject for call in cloud.faults.calls if call.operation == "bucket.read"}
    assert len(read) <= 2, "manifests that were written at other times are not read"


async def test_results_of_former_versions_count_as_jobs_on_the_day_they_were_written() -> None:
    cloud, client = cloud_at(NOON)
    put(cloud, "old", ended_at=None, gpu_seconds=None, cost=None)
    (row,) = await rows(client)
    assert (row["day"], row["jobs"], row["gpu_seconds"]) == ("2026-01-02", "1", "0.000")


async def test_what_cannot_be_read_is_counted_and_ends_nothing() -> None:
    cloud, client = cloud_at(NOON)
    put(cloud, "good")
    cloud.bucket("images").put("output/bad/bad-0123456789abcdef.out", b"[]")
    found = await client.usage(prefixes=["output"], period=ALWAYS)
    assert (found.unread, len(found.rows)) == (1, 1)


@pytest.mark.parametrize("fault", [b"[]", b'{"status": "completed", "gpu_seconds": NaN}'])
async def test_what_cannot_be_read_is_told_beside_the_sums(
    fault: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud, client = cloud_at(NOON)
    put(cloud, "good")
    cloud.bucket("images").put("output/bad/bad-0123456789abcdef.out", fault)
    (row,) = await rows(client)
    assert row["gpu_seconds"] == "10.000"
    assert "1 results that cannot be read" in capsys.readouterr().err


async def test_several_prefixes_are_summed_together_and_each_once() -> None:
    cloud, client = cloud_at(NOON)
    put(cloud, "a")
    put(cloud, "b", folder="team/one")
    put(cloud, "c", folder="elsewhere")
    (row,) = await rows(client, prefixes=["output", "team/one", "team/one/"])
    assert row["jobs"] == "2"
    (row,) = await rows(client, prefixes=["team/one", "team", "teams"])
    assert row["jobs"] == "1", "a folder within another that is asked for is no other"


async def test_more_tenants_than_fit_are_summed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_usage, "_MOST_SUMS", 3)
    cloud, client = cloud_at(NOON)
    for number in range(10):
        put(cloud, f"job-{number}", metadata={"tenant": f"t{number}"})
    found = await client.usage(prefixes=["output"], period=ALWAYS)
    assert len(found.sums) == 4
    assert found.sums[UsageKey(date(2026, 1, 2), "(others)", "(others)")].jobs == 7


async def test_no_tenants_name_is_a_formula_or_steers_a_terminal() -> None:
    cloud, client = cloud_at(NOON)
    put(cloud, "a", metadata={"tenant": "=cmd()"}, model="x\x1b[2J")
    (row,) = await rows(client)
    assert row["tenant"] == "'=cmd()"
    assert "\x1b" not in "".join(await lines(client, as_csv=False))


async def test_people_get_a_table_and_bars() -> None:
    cloud, client = cloud_at(NOON)
    put(cloud, "a", metadata={"tenant": "shop"}, gpu_seconds=7200.0)
    put(cloud, "b", metadata={"tenant": "blog"}, gpu_seconds=3600.0)
    told = await lines(client, as_csv=False)
    assert told[0].split() == [
        "day", "tenant", "model", "jobs", "completed", "images", "gpu_seconds", "cost",
    ]  # fmt: skip
    bars = {line.split()[0]: line.count("█") for line in told if "GPU-hours" in line}
    assert bars == {"shop": 40, "blog": 20}


@pytest.mark.parametrize(("name", "begins"), [("u.svg", b"<svg"), ("u.png", b"\x89PNG")])
async def test_a_picture_shows_the_days(tmp_path: Path, name: str, begins: bytes) -> None:
    cloud, client = cloud_at(NOON)
    for number in range(8):
        put(cloud, f"a-{number}", metadata={"tenant": f"<{number}>"})
    put(cloud, "later", ended_at="2026-01-05T12:00:00Z")
    await lines(client, plot=tmp_path / name)
    drawn = (tmp_path / name).read_bytes()
    assert drawn.startswith(begins)
    if name.endswith("svg"):
        assert drawn.count(b"<polyline") == 1 + 6
        assert b"all others" in drawn


async def test_without_jobs_it_says_so_and_draws_nothing(tmp_path: Path) -> None:
    _, client = cloud_at(NOON)
    assert await lines(client, as_csv=False) == ["No job ended then below the prefix."]
    with pytest.raises(SettingsError):
        await lines(client, plot=tmp_path / "u.svg")


async def test_a_picture_can_be_read_whatever_tenants_are_called(tmp_path: Path) -> None:
    cloud, client = cloud_at(NOON)
    put(cloud, "a", metadata={"tenant": "a\x1b[2J<&é日"})
    await lines(client, plot=tmp_path / "u.svg")
    picture = ElementTree.parse(tmp_path / "u.svg")  # noqa: S314
    words = [found.text for found in picture.iter()]
    assert "a?[2J<&é日" in words


async def test_any_period_can_be_asked_for() -> None:
    cloud, client = cloud_at(NOON)
    put(cloud, "a")
    for since, until in [("0001-01-01", "9999-12-31"), (None, "9999-12-31T23:59:59")]:
        assert len(await rows(client, period=period(since, until))) == 1


@pytest.mark.parametrize("until", ["2026-01-02", "2026-01-01"])
def test_a_period_that_ends_before_it_begins_is_refused(until: str) -> None:
    with pytest.raises(SettingsError, match="--until"):
        period("2026-01-02", until)


def test_a_day_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="--since"):
        moment("yesterday", "--since")
