"""From which of several queues the next message is taken, whatever has work when."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queue_agent.worker.queue_order import STRICT_BOUND, QueueOrder, Reserved, Weighted, strict

NAMES = ("high", "normal", "low", "night")


@st.composite
def weighted(draw: st.DrawFn) -> Weighted:
    names = NAMES[: draw(st.integers(1, 4))]
    return Weighted(names, {name: draw(st.integers(1, 100)) for name in names})


@st.composite
def reserved(draw: st.DrawFn) -> Reserved:
    names = NAMES[: draw(st.integers(1, 4))]
    shares: dict[str, int] = {}
    for name in names:
        left = 100 - sum(shares.values())
        share = draw(st.integers(0, left))
        if share:
            shares[name] = share
    return Reserved(names, shares)


stricts = st.integers(1, 4).map(lambda count: strict(NAMES[:count]))
orders = st.one_of(weighted(), reserved(), stricts)


def taken(order: QueueOrder, works: Sequence[frozenset[str]]) -> list[str]:
    """Whose turns they were, where these had work at each."""
    turns = []
    for waiting in works:
        turns.append(order.next(waiting))
        order = order.after(turns[-1], waiting)
    return turns


@st.composite
def circumstances(draw: st.DrawFn) -> tuple[QueueOrder, list[frozenset[str]]]:
    """A rule, and which queues have work at each turn; always one."""
    order = draw(orders)
    some = st.frozensets(st.sampled_from(order.queues), min_size=1)
    return order, draw(st.lists(some, max_size=120))


@given(circumstances())
def test_no_turn_is_left_to_a_queue_without_work(
    given_: tuple[QueueOrder, list[frozenset[str]]],
) -> None:
    order, works = given_
    assert all(turn in waiting for turn, waiting in zip(taken(order, works), works, strict=True))


@given(weighted(), st.integers(1, 400))
def test_shares_are_those_of_the_weights_while_all_have_work(order: Weighted, count: int) -> None:
    turns = Counter(order.turns(order.queues, count))
    whole = sum(order.weights.values())
    for name in order.queues:
        assert abs(turns[name] - count * order.weights[name] / whole) <= len(order.queues)


@given(weighted(), st.data())
def test_what_a_queue_without_work_leaves_goes_to_the_others_by_weight(
    order: Weighted, data: st.DataObject
) -> None:
    some = data.draw(st.frozensets(st.sampled_from(order.queues), min_size=1))
    turns = Counter(order.turns(some, 300))
    whole = sum(order.weights[name] for name in some)
    for name in some:
        assert abs(turns[name] - 300 * order.weights[name] / whole) <= len(order.queues)


@given(weighted(), st.integers(1, 300))
def test_a_queue_that_had_no_work_claims_nothing_of_what_it_left(
    order: Weighted, idle: int
) -> None:
    if len(order.queues) == 1:
        return
    sleeper, *others = order.queues
    works = [frozenset(others)] * idle + [frozenset(order.queues)] * 200
    turns = Counter(taken(order, works)[idle:])
    whole = sum(order.weights.values())
    assert turns[sleeper] <= 200 * order.weights[sleeper] / whole + len(order.queues)


@given(circumstances(), st.data())
def test_a_queue_that_goes_on_waiting_has_its_turn_within_the_stated_bound(
    given_: tuple[QueueOrder, list[frozenset[str]]], data: st.DataObject
) -> None:
    order, works = given_
    name = data.draw(st.sampled_from(order.queues))
    most = bound(order, name)
    if most is None:
        return
    waits = [waiting | {name} for waiting in works] + [frozenset(order.queues)] * (most + 1)
    turns = taken(order, waits)
    gaps, since = [], 0
    for turn in turns:
        if turn == name:
            gaps.append(since)
            since = 0
        else:
            since += 1
    assert max(gaps) <= most


def bound(order: QueueOrder, name: str) -> int | None:
    """How many messages of others may go before one of a queue that waits; None: no bound."""
    others = len(order.queues) - 1
    if isinstance(order, Reserved):
        if name not in order.shares:
            return 0 if not order.shares and name == order.queues[0] else None
        return -(-200 // order.shares[name])
    assert isinstance(order, Weighted)
    whole = sum(order.weights.values()) - order.weights[name]
    return -(-whole // order.weights[name]) + 2 * others


@given(stricts, st.integers(STRICT_BOUND, 400))
def test_under_strict_the_first_has_all_turns_but_one_in_twenty_for_each_other(
    order: Reserved, count: int
) -> None:
    first, *others = order.queues
    turns = order.turns(order.queues, count)
    assert turns[:STRICT_BOUND] == [first] * STRICT_BOUND
    for name in others:
        assert turns.count(name) <= count / STRICT_BOUND
        assert name in turns[: STRICT_BOUND + len(others)] or count < STRICT_BOUND + len(others)


@given(stricts, st.integers(1, 3))
def test_under_strict_nobody_waits_behind_more_than_the_bound_and_the_others_that_are_owed(
    order: Reserved, place: int
) -> None:
    if place >= len(order.queues):
        return
    name = order.queues[place]
    turns = [*order.turns(order.queues, 500)]
    places = [number for number, turn in enumerate(turns) if turn == name]
    gaps = [later - earlier for earlier, later in zip([-1, *places], places, strict=False)]
    assert max(gaps) - 1 <= STRICT_BOUND + len(order.queues) - 2


@given(reserved(), st.integers(1, 400))
def test_a_reserved_share_is_had_while_there_is_work(order: Reserved, count: int) -> None:
    turns = Counter(order.turns(order.queues, count))
    for name, share in order.shares.items():
        assert turns[name] >= count * share // 100 - 1


def test_what_nobody_has_reserved_goes_by_the_order() -> None:
    order = Reserved(("high", "normal", "low"), {"normal": 20, "low": 10})
    turns = Counter(order.turns(order.queues, 1000))
    assert (turns["high"], turns["normal"], turns["low"]) == pytest.approx((700, 200, 100), abs=3)


def test_more_than_all_cannot_be_reserved() -> None:
    with pytest.raises(ValueError, match="100 %"):
        Reserved(("high", "low"), {"high": 60, "low": 50})
