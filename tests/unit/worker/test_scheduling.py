"""Whose turn it is: the earliest deadline, and nobody waits for ever."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queue_agent.worker.scheduling import MOST_OVERTAKEN, Candidate, Situation, turns

moments = st.one_of(st.none(), st.integers(0, 5).map(float))
candidates = st.builds(
    Candidate,
    deadline=moments,
    overtaken=st.integers(0, MOST_OVERTAKEN),
    group=st.one_of(st.none(), st.sampled_from("abc")),
)
several = st.lists(candidates, max_size=12)


@given(several, st.integers(0, 15))
def test_as_many_go_as_there_is_room_for_and_each_once(waiting: list[Candidate], room: int) -> None:
    order = turns(waiting, room)
    assert len(order) == len(set(order)) == min(room, len(waiting))
    assert set(order) <= set(range(len(waiting)))


@given(several, st.integers(0, 12), st.integers(0, 12))
def test_it_does_not_matter_whether_they_are_chosen_at_once_or_one_by_one(
    waiting: list[Candidate], some: int, more: int
) -> None:
    at_once = turns(waiting, some + more)
    assert at_once[: len(turns(waiting, some))] == turns(waiting, some)


@given(st.lists(st.builds(Candidate, deadline=st.just(None)), max_size=12), moments)
def test_who_was_ready_first_is_first_where_all_is_equal(
    waiting: list[Candidate], deadline: float | None
) -> None:
    same = [replace(one, deadline=deadline) for one in waiting]
    assert turns(same, len(same)) == list(range(len(same)))


@given(st.lists(st.integers(0, 50).map(float), max_size=MOST_OVERTAKEN + 1))
def test_the_earliest_deadline_is_first_and_equal_ones_keep_their_order(
    deadlines: list[float],
) -> None:
    order = turns([Candidate(deadline) for deadline in deadlines], len(deadlines))
    assert order == sorted(range(len(deadlines)), key=lambda place: deadlines[place])


of_tenants = st.lists(
    st.builds(
        Candidate,
        deadline=moments,
        overtaken=st.integers(0, MOST_OVERTAKEN),
        tenant=st.one_of(st.none(), st.sampled_from("xy")),
    ),
    max_size=12,
)


@given(of_tenants, st.integers(0, 15), st.integers(1, 3), st.integers(0, 3))
def test_no_tenant_goes_beyond_its_limit_while_anothers_job_waits_and_no_place_stays_empty(
    waiting: list[Candidate], room: int, limit: int, busy: int
) -> None:
    situation = Situation(tenant_limit=limit, at_work={"x": busy})
    order = turns(waiting, room, situation)
    assert len(order) == len(set(order)) == min(room, len(waiting))
    at_work = {"x": busy}
    left = dict(enumerate(waiting))
    for place in order:
        gone = left.pop(place)
        if gone.tenant is None:
            continue
        if at_work.get(gone.tenant, 0) >= limit:
            assert all(at_work.get(it.tenant or "", -1) >= limit for it in left.values())
        at_work[gone.tenant] = at_work.get(gone.tenant, 0) + 1


@given(of_tenants, st.integers(0, 12))
def test_a_limit_that_nobody_reaches_changes_no_order(waiting: list[Candidate], room: int) -> None:
    far = Situation(tenant_limit=len(waiting) + 1)
    assert turns(waiting, room, far) == turns(waiting, room)


def test_a_deadline_goes_before_none() -> None:
    assert turns([Candidate(), Candidate(5.0)], 2) == [1, 0]


@given(st.lists(st.tuples(moments, st.integers(0, 3)), max_size=40), st.integers(1, 3))
def test_nobody_is_overtaken_more_often_than_is_allowed(
    coming: list[tuple[float | None, int]], room: int
) -> None:
    """Jobs come one by one, each after so many have gone; each counts who went before it."""
    waiting: dict[int, Candidate] = {}
    gone: list[int] = []

    def go() -> None:
        places = list(waiting)
        for number in [places[it] for it in turns(list(waiting.values()), room)]:
            del waiting[number]
            gone.append(number)
            for other in [other for other in waiting if other < number]:
                passed = waiting[other]
                waiting[other] = replace(passed, overtaken=passed.overtaken + 1)

    for number, (deadline, rounds) in enumerate(coming):
        waiting[number] = Candidate(deadline)
        for _ in range(rounds):
            go()
    while waiting:
        go()
    assert sorted(gone) == list(range(len(coming)))
    for place, number in enumerate(gone):
        assert sum(other > number for other in gone[:place]) <= MOST_OVERTAKEN


def test_one_without_a_deadline_goes_after_so_many_that_came_later() -> None:
    waiting = [Candidate(), *[Candidate(float(it)) for it in range(10)]]
    assert turns(waiting, 11).index(0) == MOST_OVERTAKEN


@given(several)
def test_a_group_keeps_its_order(waiting: list[Candidate]) -> None:
    order = turns(waiting, len(waiting))
    for group in "abc":
        places = [place for place in order if waiting[place].group == group]
        assert places == sorted(places)


@pytest.mark.parametrize("room", [0, 1])
def test_nothing_waits(room: int) -> None:
    assert turns([], room) == []
