"""Decisions about deliveries, as values."""

from dataclasses import replace

import pytest

from queue_agent.worker.policy import Policy

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
    assert POLICY.is_last(count) is last
    assert POLICY.is_exhausted(count) is exhausted
    assert POLICY.hold_limit_of(count) == hold


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
