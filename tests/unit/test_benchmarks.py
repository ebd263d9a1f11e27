"""The benchmark's arithmetic and its emulated queue."""

import hashlib
import math

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from benchmarks.bare import authorization
from benchmarks.figures import (
    Span,
    busy_fraction,
    gaps,
    hold_times,
    idle_while_waiting,
    quantile,
    rate,
)
from benchmarks.queues import EmulatedQueue


@pytest.mark.parametrize(
    ("spans", "expected_gaps", "expected_busy"),
    [
        pytest.param([(0.0, 4.0)], [], 1.0, id="one span has no gap"),
        pytest.param([(0.0, 1.0), (3.0, 4.0)], [2.0], 0.5, id="idle between two spans"),
        pytest.param([(3.0, 4.0), (0.0, 1.0)], [2.0], 0.5, id="the order does not matter"),
        pytest.param([(0.0, 2.0), (2.0, 4.0)], [0.0], 1.0, id="back to back"),
        pytest.param([(0.0, 8.0), (1.0, 2.0), (9.0, 10.0)], [0.0, 1.0], 0.9, id="overlap"),
    ],
)
def test_gaps_and_busy_time_follow_from_the_spans(
    spans: list[Span], expected_gaps: list[float], expected_busy: float
) -> None:
    assert gaps(spans) == expected_gaps
    assert busy_fraction(spans) == pytest.approx(expected_busy)


@pytest.mark.parametrize(
    ("part", "expected"), [(0.0, 1.0), (0.5, 2.0), (0.75, 3.0), (0.99, 4.0), (1.0, 4.0)]
)
def test_a_quantile_is_one_of_the_values(part: float, expected: float) -> None:
    assert quantile([4.0, 2.0, 1.0, 3.0], part) == expected


def test_nothing_has_no_quantile_and_no_rate() -> None:
    assert math.isnan(quantile([], 0.5))
    assert math.isnan(rate([1.0]))


def test_the_rate_counts_the_intervals_between_events() -> None:
    assert rate([2.0, 0.0, 1.0]) == 1.0


def test_a_job_is_held_from_its_last_delivery_before_the_gpu() -> None:
    received = [("a", 1.0), ("a", 5.0), ("a", 9.0), ("b", 2.0), ("never run", 0.0)]
    assert hold_times(received, {"a": 6.0, "b": 2.5}) == [1.0, 0.5]


def test_only_idling_while_messages_are_visible_is_counted() -> None:
    spans = [(0.0, 1.0), (4.0, 5.0), (6.0, 7.0)]
    depths = [(0.0, 3), (2.0, 0), (3.5, 1), (4.5, 0)]
    assert idle_while_waiting(spans, depths) == pytest.approx(1.0 + 0.5)


async def test_a_message_not_deleted_in_time_is_delivered_again() -> None:
    queue = EmulatedQueue()
    queue.send("body")
    (first,) = await queue.receive(10, wait=0, visibility=0.01)
    receipt = first.receipt
    (again,) = await queue.receive(10, wait=5, visibility=30)
    assert again.receives == 2
    assert not queue.delete(receipt)
    assert queue.delete(again.receipt)
    await queue.emptied()


async def test_a_hidden_message_comes_back_when_it_is_released() -> None:
    queue = EmulatedQueue()
    queue.send("body")
    (held,) = await queue.receive(1, wait=0, visibility=30)
    assert await queue.receive(1, wait=0, visibility=30) == []
    assert queue.hide(held.receipt, 0)
    assert len(await queue.receive(1, wait=0, visibility=30)) == 1


def test_the_bare_loop_signs_as_the_sdk_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    theirs = AWSRequest("POST", "http://127.0.0.1:9000/", data=b"{}", headers={"x-amz-target": "A"})
    SigV4Auth(Credentials("AKID", "secret"), "sqs", "eu-west-1").add_auth(theirs)
    moment = theirs.headers["X-Amz-Date"]
    headers = {"x-amz-target": "A", "host": "127.0.0.1:9000", "x-amz-date": moment}
    scope = f"{moment[:8]}/eu-west-1/sqs/aws4_request"
    ours = authorization("POST", "/", headers, hashlib.sha256(b"{}").hexdigest(), scope)
    assert ours == theirs.headers["Authorization"]
