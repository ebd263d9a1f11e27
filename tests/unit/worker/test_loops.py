"""Whatever is wired to the job queue by mistake, nothing goes in circles and nothing is lost."""

import json
from collections import Counter
from typing import Any

import pytest
from structlog.testing import capture_logs

from foreign_bodies import FOREIGN, RESEMBLING, s3_record, sns
from queue_agent.cloud.memory import MemoryBucket
from queue_agent.telemetry.metrics import Metrics
from queue_agent.wire.errors import Unavailable
from queue_agent.worker.answer_rate import AnswerRate
from worker_bench import NAME, Bench, failing

pytestmark = pytest.mark.looptime

HOUR = 3600.0


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many messages were counted as ignored, by kind."""
    found: Counter[str] = Counter()
    monkeypatch.setattr(Metrics, "ignored", lambda _self, kind: found.update([kind]))
    return found


async def test_notifications_on_the_topic_of_jobs_are_not_answered(
    bench: Bench, counted: Counter[str]
) -> None:
    bench.topic.subscribe_queue(bench.queue, {"runtime": [NAME]})
    await bench.publish("order-1")
    with capture_logs() as logs:
        async with bench.working():
            told = await bench.settled("order-1")
            await bench.pass_time(HOUR)
    assert told.status == "completed"
    assert len(bench.topic.published) == 1
    assert bench.keys("quarantine/") == []
    assert (bench.queue.bodies, bench.dead_letters) == ([], [])
    assert counted == {"notification": 1}
    assert [log["log_level"] for log in logs if log["event"] == "messages ignored"] == ["error"]


@pytest.mark.parametrize("raw_delivery", [True, False])
async def test_progress_failures_and_quarantines_on_the_topic_of_jobs_are_told_once(
    raw_delivery: bool, counted: Counter[str]
) -> None:
    bench = Bench(policy={"progress_interval": 1.0})
    bench.topic.subscribe_queue(bench.queue, raw_delivery=raw_delivery)
    bench.runtime.script("breaking", failing())
    await bench.publish("breaking")
    await bench.publish("refused", {"refused": True})
    await bench.publish("good")
    await bench.queue.send("no JSON", {})
    async with bench.working():
        for job_id in ("breaking", "refused", "good"):
            await bench.settled(job_id)
        await bench.pass_time(HOUR)
    assert sorted(one.status for one in bench.told()) == ["completed", *["failed"] * 3]
    assert counted == {"notification": len(bench.topic.published)}
    assert len(bench.keys("quarantine/")) == 1


def let_bucket_tell_queue(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """As a bucket's notification configuration for all objects that are made; their keys."""
    put, made = MemoryBucket.put, list[str]()

    def telling(bucket: MemoryBucket, key: str, *given: Any) -> None:
        put(bucket, key, *given)
        made.append(key)
        bench.queue.put(json.dumps({"Records": [s3_record(key=key)]}), {})

    monkeypatch.setattr(MemoryBucket, "put", telling)
    return made


async def test_a_bucket_that_tells_the_queue_of_its_objects_starts_no_loop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, counted: Counter[str]
) -> None:
    made = let_bucket_tell_queue(bench, monkeypatch)
    await bench.publish("order-1")
    await bench.queue.send("no JSON", {})
    async with bench.working():
        await bench.settled("order-1")
        await bench.pass_time(HOUR)
    assert sorted(one.status for one in bench.told()) == ["completed", "failed"]
    assert len(bench.keys("quarantine/")) == 1
    assert counted == {"storage_event": len(made)}
    assert set(bench.keys()) <= set(made)
    assert (bench.queue.bodies, bench.dead_letters) == ([], [])


async def test_what_asks_for_nothing_is_acknowledged_counted_and_never_answered(
    bench: Bench, counted: Counter[str]
) -> None:
    for _, body in FOREIGN.values():
        await bench.queue.send(body, {})
        await bench.queue.send(sns(body), {})
    async with bench.working():
        await bench.emptied()
    assert (bench.told(), bench.keys(), bench.dead_letters) == ([], [], [])
    assert counted == {kind: 2 * count for kind, count in expected_kinds().items()}
    assert bench.runtime.prepared == []


def expected_kinds() -> Counter[str]:
    return Counter(kind.value for kind, _ in FOREIGN.values())


async def test_what_resembles_it_and_is_a_job_is_done(bench: Bench, counted: Counter[str]) -> None:
    for number, job in enumerate(RESEMBLING.values()):
        metadata = {**job["metadata"], "id": f"order-{number}"}
        await bench.queue.send(json.dumps({**job, "metadata": metadata}), {})
    async with bench.working():
        await bench.emptied()
    assert {one.status for one in bench.told()} == {"completed"}
    assert len(bench.told()) == len(RESEMBLING)
    assert counted == {}


async def test_what_is_ignored_is_said_once_and_then_once_a_minute_by_kind(bench: Bench) -> None:
    bodies = [FOREIGN["completed"][1], FOREIGN["S3"][1]]
    with capture_logs() as logs:
        async with bench.working():
            for _ in range(150):
                for body in bodies:
                    await bench.queue.send(body, {})
                await bench.pass_time(1.0)
            await bench.emptied()
    said = [log for log in logs if log["event"] == "messages ignored"]
    by_kind = Counter(log["kind"] for log in said)
    assert by_kind == {"notification": 3, "storage_event": 3}
    assert [log["count"] for log in said if log["kind"] == "notification"] == [1, 60, 60]
    assert all("topic" in log["reason"] or "bucket" in log["reason"] for log in said)


async def test_an_agent_that_is_told_to_stop_leaves_nothing_of_it(bench: Bench) -> None:
    hold = bench.cloud.faults.hold("queue.delete")
    await bench.queue.send(FOREIGN["completed"][1], {})
    async with bench.working():
        await hold.reached.wait()
        hold.release()
    assert bench.queue.bodies == []


async def test_what_cannot_be_acknowledged_now_is_acknowledged_later(bench: Bench) -> None:
    bench.cloud.faults.fail("queue.delete", Unavailable("not now"), times=5)
    await bench.queue.send(FOREIGN["S3's test"][1], {})
    async with bench.working():
        await bench.emptied()
    assert (bench.told(), bench.keys()) == ([], [])


async def test_a_storm_of_messages_that_name_no_job_is_answered_at_a_bounded_rate() -> None:
    bench = Bench(max_receives=None)
    for number in range(300):
        await bench.queue.send(f"no JSON {number}", {})
    async with bench.working():
        await bench.pass_time(60.0)
        assert 60 <= len(bench.told()) <= 81
        assert len(bench.keys("quarantine/")) <= 82
        await bench.emptied()
    assert len(bench.told()) == len({one.id for one in bench.told()}) == 300
    assert len(bench.keys("quarantine/")) == 300


async def test_jobs_do_not_wait_behind_a_storm_of_messages_that_name_none() -> None:
    bench = Bench(max_receives=None)
    for number in range(500):
        await bench.queue.send(f"no JSON {number}", {})
        if number % 100 == 99:
            await bench.publish(f"order-{number}")
    start = bench.cloud.clock.now()
    async with bench.working():
        for number in range(99, 500, 100):
            assert (await bench.answer(f"order-{number}")).status == "completed"
        assert bench.cloud.clock.now() - start < 120.0
        assert {one.attempt for one in bench.told() if one.status == "completed"} == {1}


async def test_of_a_storm_what_gets_no_turn_is_left_to_the_dead_letters() -> None:
    bench = Bench(policy={"answers_per_second": 0.05})
    bodies = {f"no JSON {number}" for number in range(300)}
    for body in bodies:
        bench.queue.put(body, {})
    async with bench.working():
        await bench.emptied()
    kept = {
        json.loads(bench.results.objects[key].data)["body"] for key in bench.keys("quarantine/")
    }
    assert kept | set(bench.dead_letters) == bodies
    assert len(kept) + len(bench.dead_letters) == 300
    assert len(kept) < 300
    assert len(bench.told()) == len(kept)


async def test_messages_that_name_a_job_are_answered_at_once_however_many(bench: Bench) -> None:
    for number in range(100):
        body = {"metadata": {"id": f"order-{number}", "tasktype": "text-to-image"}}
        await bench.queue.send(json.dumps(body), {})
    start = bench.cloud.clock.now()
    async with bench.working():
        await bench.emptied()
        assert bench.cloud.clock.now() - start < 5.0
    assert {one.id for one in bench.told()} == {f"order-{number}" for number in range(100)}


async def test_an_agent_that_is_told_to_stop_gives_back_or_answers_what_waits_its_turn() -> None:
    bench = Bench(max_receives=None)
    for number in range(40):
        await bench.queue.send(f"no JSON {number}", {})
    async with bench.working():
        await bench.pass_time(1.0)
    assert len(bench.queue.bodies) + len(bench.told()) == 40


class Timer:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_turns_are_a_burst_and_then_so_many_a_second() -> None:
    clock = Timer()
    rate = AnswerRate(burst=5, per_second=2.0, clock=clock)
    assert [rate.turn() for _ in range(5)] == [0.0] * 5
    assert [rate.turn() for _ in range(3)] == [0.5, 1.0, 1.5]
    assert len(list(iter(rate.turn, None))) == 17
    assert rate.later() > 10.0
    clock.now = 1000.0
    assert [rate.turn() for _ in range(6)] == [0.0] * 5 + [0.5]


def test_what_gets_no_turn_comes_back_at_the_same_rate() -> None:
    rate = AnswerRate(burst=1, per_second=1.0, clock=Timer())
    while rate.turn() is not None:
        pass
    delays = [rate.later() for _ in range(2000)]
    assert delays[:3] == [delays[0] + n for n in range(3)]
    assert max(delays) == 900.0
