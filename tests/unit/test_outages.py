"""What goes on failing is said in few lines, and its end with how long it lasted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from queue_agent.client.listener import Listener
from queue_agent.cloud.aws.s3 import S3Bucket
from queue_agent.cloud.aws.stores import StoreFacts
from queue_agent.telemetry.outages import Outages, Over
from queue_agent.telemetry.refusals import CloudRefusals
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.notification import Notification


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outages(clock: Clock) -> Outages:
    return Outages(clock)


def said(outages: Outages, clock: Clock, seconds: int, **how: str) -> list[tuple[int, int]]:
    """When lines are due of a failure a second, and of how many failures they are."""
    lines = []
    for passed in range(seconds):
        if due := outages.failed("away", **how):
            lines.append((passed, due.failures))
        clock.now += 1
    return lines


def test_a_failure_each_second_is_said_at_once_and_then_every_five_minutes_with_the_number(
    outages: Outages, clock: Clock
) -> None:
    assert said(outages, clock, 900) == [(0, 1), (300, 300), (600, 300)]
    assert outages.works() == Over(900, 900.0)
    assert outages.works() is None


def test_what_works_now_and_then_is_said_once_a_minute(outages: Outages, clock: Clock) -> None:
    lines, ends = [], []
    for passed in range(120):
        if outages.failed("throttled"):
            lines.append(passed)
        clock.now += 0.5
        if outages.works():
            ends.append(passed)
        clock.now += 0.5
    assert lines == ends == [0, 60]


def test_another_reason_is_said_at_once_and_the_same_of_another_operation_is_not(
    outages: Outages, clock: Clock
) -> None:
    assert outages.failed("away", "read")
    assert not outages.failed("away", "write")
    assert outages.failed("forbidden", "write")
    clock.now += 61
    assert not outages.failed("away", "write")
    assert outages.works("read")
    assert outages.works("write") == Over(3, 61.0)


def test_other_words_of_the_same_reason_are_said_after_a_minute(
    outages: Outages, clock: Clock
) -> None:
    assert outages.failed("away", words="connection refused")
    said_at = []
    for passed in range(1, 200):
        clock.now += 1
        if outages.failed("away", words="no such host"):
            said_at.append(passed)
    assert said_at == [60]


def test_words_that_change_each_time_are_said_once_a_minute(outages: Outages, clock: Clock) -> None:
    lines = 0
    for passed in range(300):
        lines += outages.failed("starting", words=f"{passed} of 300 shards") is not None
        clock.now += 1
    assert lines == 5


def test_a_failure_that_nobody_met_again_for_long_is_over_without_a_word(
    outages: Outages, clock: Clock
) -> None:
    assert outages.failed("away")
    clock.now += 600
    due = outages.failed("away")
    assert due is not None
    assert due.seconds == 0


def test_a_service_that_refuses_several_operations_is_said_once_and_reminded_of(
    clock: Clock,
) -> None:
    refusals = CloudRefusals(clock=clock)
    error = Unavailable("no such queue", type="cloud_not_found")
    with capture_logs() as lines:
        for _ in range(310):
            for operation in ("queue.backlog", "queue.policy", "queue.receive"):
                refusals(operation, error)
            clock.now += 1
        refusals("queue.backlog", None)
    events = [(line["event"], line["refused"]) for line in lines]
    assert events == [("cloud refuses", 1), ("cloud refuses", 900), ("cloud answers again", 310)]
    assert all(line["remedy"] for line in lines[:2])


@pytest.mark.looptime
async def test_notifications_that_are_not_heard_are_said_once_and_tried_ever_more_seldom() -> None:
    attempts: list[float] = []
    time = asyncio.get_running_loop().time

    @asynccontextmanager
    async def subscribe() -> AsyncIterator[AsyncIterator[Notification]]:
        attempts.append(time())
        if len(attempts) <= 20:
            raise Unavailable("no such topic", type="cloud_not_found")

        async def heard() -> AsyncIterator[Notification]:
            await asyncio.Event().wait()
            yield Notification(runtime="r", id="j", status="completed", result=True)

        yield heard()

    with capture_logs() as lines:
        listener = Listener(subscribe)
        async with listener.listening():
            assert await listener.ready(patience=3600)
    first, last = lines
    assert (first["event"], first["reason"]) == ("notifications are not heard", "no such topic")
    assert first["remedy"]
    assert (last["event"], last["failures"]) == ("notifications are heard again", 20)
    pauses = [round(after - before) for before, after in pairwise(attempts)]
    assert pauses[:6] == [2, 4, 8, 16, 30, 30]


async def no_client() -> Any:
    raise AssertionError("nothing is asked of it")


class Refusing(S3Bucket):
    """Of which a write is never answered, or refused, and a delete always is."""

    def __init__(self, refusal: Exception | None) -> None:
        super().__init__(no_client, "b", StoreFacts(credentials_life=no_client))
        self.refusal = refusal
        self.asked = asyncio.Event()

    async def _write(self, *_: Any, **__: Any) -> None:
        self.asked.set()
        if self.refusal:
            raise self.refusal
        await asyncio.Event().wait()

    async def delete(self, key: str) -> None:
        raise Unavailable(f"Could not delete {key}")


async def test_a_trial_of_the_bucket_that_is_cancelled_ends_though_its_cleaning_fails() -> None:
    bucket = Refusing(None)
    trial = asyncio.create_task(bucket.creates_once("key"))
    await bucket.asked.wait()
    trial.cancel()
    await asyncio.wait({trial})
    assert trial.cancelled()


async def test_of_a_trial_that_fails_the_first_failure_is_told() -> None:
    with pytest.raises(Unavailable, match="Could not write"):
        await Refusing(Unavailable("Could not write")).creates_once("key")
