"""`queue-agent pause`, `resume` and `pauses`: what is typed becomes a marker, or a clear error."""

import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from queue_agent.cli.app import main
from queue_agent.cli.pause import PauseOrder, pause, resume, show_pauses
from queue_agent.cli.submit import submit
from queue_agent.client import Client, make_job
from queue_agent.cloud.memory import ManualClock, MemoryBucket, MemoryCloud
from queue_agent.wire.errors import Malformed, Rejected, Unavailable
from queue_agent.wire.layout import offer_key, pauses_key, runtime_of_pauses
from queue_agent.wire.pause import Pause, Pauses, Window


class Operator:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.cloud = MemoryCloud(self.clock)
        self.bucket: MemoryBucket = self.cloud.bucket("results")
        self.bucket.put(offer_key("sd"), b"{}")

    async def pause(self, **order: Any) -> None:
        await pause(self.cloud, self.bucket, "sd", PauseOrder(**order))

    async def resume(
        self, *, tenant: str | None = None, model: str | None = None, everything: bool = False
    ) -> None:
        await resume(
            self.cloud, self.bucket, "sd", tenant=tenant, model=model, everything=everything
        )

    @property
    def pauses(self) -> tuple[Pause, ...]:
        return Pauses.read(self.bucket.objects[pauses_key("sd")].data).pauses


@pytest.fixture
def operator() -> Operator:
    return Operator()


async def test_a_pause_is_written_told_and_listed(
    operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    await operator.pause(reason="new nodes", seconds=3600)
    line = "sd\tpaused\tthe runtime until 2026-01-01T01:00:00+00:00 (new nodes)\n"
    assert capsys.readouterr() == (line, "")
    await show_pauses(operator.cloud, operator.bucket)
    assert capsys.readouterr().out == line
    operator.clock.advance(3600)
    await show_pauses(operator.cloud, operator.bucket)
    assert capsys.readouterr().out == ""


async def test_a_pause_for_the_same_replaces_the_former_and_others_stay(
    operator: Operator,
) -> None:
    await operator.pause(tenant="a")
    await operator.pause(reason="first")
    await operator.pause(reason="second")
    assert operator.pauses == (Pause(tenant="a"), Pause(reason="second"))


async def test_what_is_resumed_is_what_was_named(
    operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    for what in ({}, {"tenant": "a"}, {"model": "m"}, {"tenant": "a", "model": "m"}):
        await operator.pause(**what)
    await operator.resume()
    assert [(one.tenant, one.model) for one in operator.pauses] == [
        ("a", None),
        (None, "m"),
        ("a", "m"),
    ]
    await operator.resume(model="m")
    assert [one.model for one in operator.pauses] == [None, "m"]
    capsys.readouterr()
    await operator.resume(tenant="nobody")
    assert "no such pause" in capsys.readouterr().err
    await operator.resume(everything=True)
    assert operator.bucket.objects.keys() == {offer_key("sd")}


async def test_a_mistyped_name_is_noticed(
    operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    await pause(operator.cloud, operator.bucket, "dssd", PauseOrder())
    assert "No agent has told of a runtime dssd" in capsys.readouterr().err


async def test_a_window_is_told_with_whether_it_is_open(
    operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    await operator.pause(daily="02:00", seconds=3600, timezone="UTC", days=("thu",))
    told = "thu from 02:00 UTC for 60 min"
    assert capsys.readouterr().out == f"sd\tnot now\tthe runtime {told}\n"
    operator.clock.advance(2 * 3600 + 1)
    await show_pauses(operator.cloud, operator.bucket)
    assert capsys.readouterr().out == f"sd\tpaused\tthe runtime {told}\n"


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ({"until": "tomorrow"}, "--until: Input should be a valid datetime"),
        ({"until": "2030-01-01T00:00:00"}, "--until: Input should have timezone info"),
        ({"until": "2020-01-01T00:00:00Z"}, "--until: that moment is over"),
        ({"since": "2030-01-02T00:00Z", "until": "2030-01-01T00:00Z"}, "ends before it begins"),
        ({"daily": "25:00", "seconds": 60, "timezone": "UTC"}, "--daily: "),
        ({"daily": "02:00", "seconds": 5, "timezone": "UTC"}, "--for: "),
        ({"daily": "02:00", "seconds": 60, "timezone": "Moon/Sea"}, "--timezone: is no time zone"),
        ({"daily": "02:00", "seconds": 60, "timezone": "UTC", "days": ("so",)}, "--days: "),
        ({"tenant": ""}, "--tenant: "),
        ({"reason": "two\nlines"}, "--reason: must not contain line breaks"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_the_options_name(
    operator: Operator, order: dict[str, Any], says: str
) -> None:
    with pytest.raises(Rejected, match=says):
        await operator.pause(**order)
    assert operator.bucket.objects.keys() == {offer_key("sd")}


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["pause", "sd"], "There is no bucket: give --bucket or QUEUE_AGENT_BUCKET."),
        (["pause", "sd", "--until", "x", "--for", "1h"], "Give --until or --for, not both."),
        (["pause", "sd", "--daily", "02:00"], "--daily needs --for and --timezone."),
        (["pause", "sd", "--days", "sun"], "--days and --timezone need --daily."),
        (["pause", "sd", "--for", "an hour"], "'an hour' is no length: 90s, 30m, 2h or 1d."),
        (["pause", "sd", "--for", "0s"], "'0s' is no length"),
        (["resume", "sd", "--all", "--tenant", "a"], "--all is of all tenants and models."),
    ],
)
def test_options_that_do_not_go_together_end_the_command_with_a_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: list[str],
    says: str,
) -> None:
    for name in ("QUEUE_AGENT_BUCKET", "S3_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["queue-agent", *typed])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def nothing(_: str) -> bool:
    """Of a job without a model."""
    return False


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("moment", "ends"),
    [
        ("2026-03-28T23:29:59+01:00", None),
        ("2026-03-28T23:30:00+01:00", "2026-03-29T05:30:00+02:00"),  # the clock is put forward
        ("2026-03-29T05:29:59+02:00", "2026-03-29T05:30:00+02:00"),
        ("2026-03-29T05:30:00+02:00", None),
        ("2026-03-29T23:30:00+02:00", None),  # a Sunday
        ("2026-07-11T23:30:00+02:00", "2026-07-12T04:30:00+02:00"),
    ],
)
def test_a_window_begins_by_the_zones_clock_and_lasts_as_long_as_it_says(
    moment: str, ends: str | None
) -> None:
    window = Window(start="23:30", seconds=5 * 3600, days=("sat",), timezone="Europe/Berlin")
    found = Pause(window=window).ends(at(moment))
    assert found == (None if ends is None else at(ends))


def test_a_window_longer_than_a_day_is_open_on_the_next_ones() -> None:
    window = Window(start="12:00", seconds=3 * 86_400, days=("fri",), timezone="UTC")
    weekend = Pause(window=window)
    assert weekend.ends(at("2026-01-02T11:59:59Z")) is None
    for moment in ("2026-01-02T12:00:00Z", "2026-01-05T11:59:59Z"):
        assert weekend.ends(at(moment)) == at("2026-01-05T12:00:00Z")
    assert weekend.ends(at("2026-01-05T12:00:00Z")) is None


def test_of_windows_that_overlap_the_last_end_holds() -> None:
    window = Window(start="01:00", seconds=86_400 + 3600, timezone="UTC")
    assert Pause(window=window).ends(at("2026-01-02T01:30:00Z")) == at("2026-01-03T02:00:00Z")


def test_the_longest_of_several_pauses_is_the_one_that_holds() -> None:
    brief = Pause(until=datetime(2026, 1, 2, tzinfo=UTC))
    pauses = Pauses(pauses=(Pause(tenant="a"), brief))
    now = at("2026-01-01T00:00:00Z")
    assert pauses.whole(now) == brief
    assert pauses.concerning(now, {"a"}, nothing) == Pause(tenant="a")
    assert pauses.concerning(now, {"b"}, nothing) == brief
    assert pauses.concerning(now + 2 * 86_400, {"b"}, nothing) is None


def test_a_pause_of_a_tenants_model_concerns_nothing_else() -> None:
    pauses = Pauses(pauses=(Pause(tenant="a", model="m"),))
    assert pauses.whole(0.0) is None
    assert pauses.concerning(0.0, {"a"}, {"m", "n"}.__contains__) is not None
    for tenants, models in (({"a"}, {"n"}), ({"b"}, {"m"}), (set[str](), set[str]())):
        assert pauses.concerning(0.0, tenants, models.__contains__) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"pauses": [{}], "more": 1}',
        b'{"pauses": [{"until": 5e999}]}',
        b'{"pauses": [{"window": {"start": "02:00", "seconds": 60, "timezone": "../etc"}}]}',
    ],
)
def test_a_marker_that_says_something_else_is_not_half_understood(data: bytes) -> None:
    with pytest.raises(Malformed, match="cannot be understood"):
        Pauses.read(data)


@pytest.mark.parametrize("runtime", ["sd", "a/b", "ü %", "pauses"])
def test_every_runtimes_name_is_read_back_from_its_key(runtime: str) -> None:
    assert runtime_of_pauses(pauses_key(runtime)) == runtime


class Publisher:
    """Submits to one runtime, as `queue-agent submit` does."""

    def __init__(self, *, with_bucket: bool = True) -> None:
        self.cloud = MemoryCloud()
        self.place = self.cloud.deploy("sd")
        bucket = self.place.bucket if with_bucket else None
        self.bucket = self.cloud.bucket(self.place.bucket)
        self.client = Client(
            self.cloud, job_topic=self.place.job_topic, bucket=bucket, runtime="sd", tenant="shop"
        )

    async def submit(self, **metadata: Any) -> None:
        await submit(self.client, make_job({"prompt": "a", "model": "m.ckpt"}, **metadata))

    @property
    def published(self) -> int:
        return len(self.cloud.topic(self.place.job_topic).published)


@pytest.mark.parametrize("what", [{}, {"model": "m"}])
async def test_a_job_for_what_is_paused_is_published_and_told_to_wait(
    capsys: pytest.CaptureFixture[str], what: dict[str, Any]
) -> None:
    publisher = Publisher()
    publisher.bucket.put(pauses_key("sd"), Pauses(pauses=(Pause(**what),)).to_json())
    await publisher.submit()
    assert "Paused, so that the job waits:" in capsys.readouterr().err
    assert publisher.published == 1


async def test_a_job_of_a_paused_tenant_is_refused_and_anothers_published() -> None:
    publisher = Publisher()
    publisher.bucket.put(pauses_key("sd"), Pauses(pauses=(Pause(tenant="shop"),)).to_json())
    with pytest.raises(Rejected, match="At sd is paused: tenant shop") as refused:
        await publisher.submit()
    assert refused.value.type == "tenant_paused"
    await publisher.submit(tenant="another")
    assert publisher.published == 1


@pytest.mark.parametrize("with_bucket", [False, True])
async def test_who_may_not_see_pauses_publishes_all_the_same(*, with_bucket: bool) -> None:
    publisher = Publisher(with_bucket=with_bucket)
    publisher.bucket.put(pauses_key("sd"), Pauses(pauses=(Pause(tenant="shop"),)).to_json())
    publisher.cloud.faults.fail("bucket.read", Unavailable("forbidden"), matching="pauses/")
    await publisher.submit()
    assert publisher.published == 1
