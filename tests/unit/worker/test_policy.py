"""Decisions about deliveries, as values."""

from dataclasses import replace

import pytest

from queue_agent.cloud import Message
from queue_agent.worker.policy import Allowance, Policy

POLICY = Policy(
    runtime_name="sd",
    lease=30.0,
    max_receives=3,
    has_dead_letter_queue=True,
    retry_delay=2.0,
    hold_limit=60.0,
    spread=lambda _low, high: high,
)


@pytest.mark.parametrize(
    ("count", "last", "exhausted", "hold"),
    [
        (1, False, False, 60.0),
        (2, False, False, None),
        (3, True, False, None),
        (4, True, True, None),
    ],
)
def test_the_last_delivery_is_known_and_half_of_all_may_go_by_in_waiting(
    count: int, last: bool, exhausted: bool, hold: float | None
) -> None:
    message = Message("m", "{}", "r", receive_count=count)
    assert POLICY.is_last(message) is last
    assert POLICY.is_exhausted(message) is exhausted
    assert POLICY.hold_limit_of(message) == hold


def test_each_queue_has_an_allowance_of_its_own() -> None:
    policy = replace(POLICY, allowances={"low": Allowance(7, False)})
    high = Message("m", "{}", "r", receive_count=3, queue="high")
    low = replace(high, queue="low")
    assert (policy.is_last(high), policy.ends_in_dead_letters(high)) == (True, True)
    assert (policy.is_last(low), policy.ends_in_dead_letters(low)) == (False, False)
    assert policy.ends_in_dead_letters(replace(low, receive_count=7)) is False
    assert policy.is_exhausted(replace(low, receive_count=8))
    assert policy.hold_limit_of(low) == 60


@pytest.mark.parametrize(
    ("count", "delay"), [(1, 2), (2, 4), (3, 8), (9, 512), (10, 900), (10_000, 900)]
)
def test_the_delay_doubles_up_to_a_quarter_of_an_hour(count: int, delay: float) -> None:
    assert POLICY.delay(count) == delay


def test_delays_are_spread_so_that_messages_do_not_come_back_together() -> None:
    spread = replace(POLICY, spread=lambda low, high: (low + high) / 2)
    assert spread.delay(1) == 1.5
    random = Policy(runtime_name="sd", lease=30, max_receives=3, has_dead_letter_queue=True)
    delays = {random.delay(3) for _ in range(50)}
    assert len(delays) > 40
    assert all(4 <= delay <= 8 for delay in delays)
