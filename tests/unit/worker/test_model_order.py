"""Whose turn it is where jobs need different models, and what goes back to other pods."""

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from queue_agent.runtime.model_use import Loaded, ModelUse
from queue_agent.worker.scheduling import (
    Candidate,
    Situation,
    SwitchCost,
    missing,
    next_use,
    surplus,
    turns,
)

COST = 20.0
ANY = ModelUse()


def using(model: str, *loras: str) -> ModelUse:
    return ModelUse(frozenset({model}), frozenset(loras))


def needing(*models: str, seconds: float = 5.0) -> list[Candidate]:
    return [Candidate(use=using(model), seconds=seconds) for model in models]


def loaded(*models: str, most: int = 1) -> Loaded:
    return Loaded(tuple(using(model) for model in models), most)


uses = st.one_of(
    st.just(ANY),
    st.builds(
        ModelUse,
        st.frozensets(st.sampled_from("ABC"), min_size=1, max_size=2),
        st.frozensets(st.sampled_from("xy"), max_size=2),
    ),
)
runtimes = st.builds(Loaded, st.lists(uses, max_size=3).map(tuple), st.integers(1, 3))
costs = st.builds(
    SwitchCost,
    st.one_of(st.none(), st.floats(0, 60)),
    st.one_of(st.none(), st.floats(0, 60)),
)
moments = st.one_of(st.none(), st.integers(0, 100).map(float))
candidates = st.builds(
    Candidate,
    deadline=moments,
    overtaken=st.integers(0, 4),
    group=st.one_of(st.none(), st.sampled_from("gh")),
    use=uses,
    seconds=st.floats(0, 30),
    may_leave=st.booleans(),
)
several = st.lists(candidates, max_size=10)
situations = st.builds(
    Situation,
    now=st.just(0.0),
    busy=st.floats(0, 60),
    places=st.integers(1, 4),
    loaded=runtimes,
    cost=costs,
    by_deadline=st.booleans(),
    by_model=st.booleans(),
    most_overtaken=st.integers(1, 8),
    elsewhere=st.one_of(st.none(), st.floats(0, 60)),
)


@given(several, situations, st.integers(0, 12))
def test_each_has_one_turn_whatever_is_loaded(
    waiting: list[Candidate], situation: Situation, room: int
) -> None:
    order = turns(waiting, room, situation)
    assert len(order) == len(set(order)) == min(room, len(waiting))


@given(st.lists(uses, max_size=10), situations, moments, st.floats(0, 30))
def test_first_come_is_first_where_nothing_has_to_be_loaded(
    needed: list[ModelUse], situation: Situation, deadline: float | None, seconds: float
) -> None:
    everything = ModelUse(frozenset("ABC"), frozenset("xy"))
    waiting = [Candidate(deadline, use=use, seconds=seconds) for use in needed]
    there = replace(situation, loaded=Loaded((everything,), len(needed) + 2))
    assert turns(waiting, len(waiting), there) == list(range(len(waiting)))


@given(uses, st.integers(0, 10), situations, moments)
def test_first_come_is_first_where_all_need_the_same(
    use: ModelUse, many: int, situation: Situation, deadline: float | None
) -> None:
    waiting = [Candidate(deadline, use=use, seconds=3.0)] * many
    assert turns(waiting, many, situation) == list(range(many))


@given(several, situations)
def test_what_is_loaded_changes_nothing_where_that_is_switched_off(
    waiting: list[Candidate], situation: Situation
) -> None:
    off = replace(situation, by_model=False)
    unknown = [replace(one, use=ANY) for one in waiting]
    assert turns(waiting, len(waiting), off) == turns(unknown, len(waiting), off)


def test_those_that_need_what_is_loaded_go_first() -> None:
    waiting = needing("B", "A", "B", "A")
    there = Situation(loaded=loaded("A"), cost=SwitchCost(COST))
    assert turns(waiting, 4, there) == [1, 3, 0, 2]


def test_a_switch_that_was_never_seen_is_taken_to_cost_something() -> None:
    assert turns(needing("B", "A"), 2, Situation(loaded=loaded("A"))) == [1, 0]


def test_a_switch_that_costs_next_to_nothing_changes_no_order() -> None:
    there = Situation(loaded=loaded("A"), cost=SwitchCost(0.1))
    assert turns(needing("B", "A"), 2, there) == [0, 1]


def test_a_runtime_that_keeps_several_models_needs_no_switch_between_them() -> None:
    waiting = needing("B", "C", "A")
    there = Situation(loaded=loaded("A", "B", most=2), cost=SwitchCost(COST))
    assert turns(waiting, 3, there) == [0, 2, 1]


def test_loras_are_a_reason_once_they_were_seen_to_cost_something() -> None:
    waiting = [Candidate(use=using("A", "y")), Candidate(use=using("A", "x"))]
    there = Situation(loaded=Loaded((using("A", "x"),)))
    assert turns(waiting, 2, there) == [0, 1]
    assert turns(waiting, 2, replace(there, cost=SwitchCost(loras=5.0))) == [1, 0]


def test_a_job_whose_model_is_unknown_is_no_switch() -> None:
    waiting = [Candidate(use=ANY), *needing("A")]
    assert turns(waiting, 2, Situation(loaded=loaded("A"), cost=SwitchCost(COST))) == [0, 1]


def test_no_deadline_is_missed_for_a_switch_that_is_saved() -> None:
    urgent = Candidate(deadline=100.0, use=using("B"), seconds=5.0)
    there = Situation(loaded=loaded("A"), cost=SwitchCost(COST))
    waiting = [urgent, *needing("A")]
    assert turns(waiting, 2, replace(there, now=60.0)) == [1, 0]
    assert turns(waiting, 2, replace(there, now=72.0)) == [0, 1]


@given(
    st.lists(
        st.builds(
            Candidate,
            deadline=st.integers(0, 300).map(float),
            use=st.sampled_from("AB").map(using),
            seconds=st.integers(1, 20).map(float),
        ),
        max_size=6,
    )
)
def test_by_models_as_many_keep_their_deadlines_as_by_deadlines_alone(
    waiting: list[Candidate],
) -> None:
    by_both = Situation(loaded=loaded("A"), cost=SwitchCost(COST), most_overtaken=99)
    kept = in_time(waiting, by_both)
    assert kept >= in_time(waiting, replace(by_both, by_model=False))


def in_time(waiting: list[Candidate], situation: Situation) -> set[int]:
    """Places of those that end before their deadlines."""
    kept = set()
    for place in turns(waiting, len(waiting), situation):
        situation = situation.after(waiting[place])
        if situation.busy <= (waiting[place].deadline or 0.0):
            kept.add(place)
    return kept


@dataclass
class Line:
    """Jobs that come one by one to an agent that looks so many ahead, until all have gone."""

    look_ahead: int
    situation: Situation
    waiting: dict[int, Candidate] = field(default_factory=dict)
    gone: list[int] = field(default_factory=list)
    most_held: int = 0

    def take(self, queue: list[tuple[int, Candidate]], within: float = float("inf")) -> None:
        held = list(self.waiting.values())
        for _ in range(missing(held, self.look_ahead, within, self.situation)):
            if queue:
                number, candidate = queue.pop(0)
                self.waiting[number] = candidate
        self.most_held = max(self.most_held, len(self.waiting))

    def go(self) -> None:
        places = list(self.waiting)
        (place,) = turns(list(self.waiting.values()), 1, self.situation)
        number = places[place]
        self.situation = replace(self.situation.after(self.waiting.pop(number)), busy=0.0)
        self.gone.append(number)
        for other in [other for other in self.waiting if other < number]:
            passed = self.waiting[other]
            self.waiting[other] = replace(passed, overtaken=passed.overtaken + 1)


@given(
    st.lists(
        st.builds(
            Candidate,
            deadline=moments,
            group=st.one_of(st.none(), st.sampled_from("gh")),
            use=uses,
            seconds=st.floats(0, 30),
        ),
        max_size=40,
    ),
    st.integers(1, 8),
    situations,
)
def test_nobody_waits_for_more_jobs_beyond_his_turn_than_is_stated(
    jobs: list[Candidate], look_ahead: int, situation: Situation
) -> None:
    queue = list(enumerate(jobs))
    line = Line(look_ahead, situation)
    while queue or line.waiting:
        line.take(queue)
        line.go()
    assert sorted(line.gone) == list(range(len(jobs))), "nobody starves"
    assert line.most_held <= look_ahead
    for place, number in enumerate(line.gone):
        overtook = sum(other > number for other in line.gone[:place])
        assert overtook <= situation.most_overtaken
    for group in "gh":
        mine = [number for number in line.gone if jobs[number].group == group]
        assert mine == sorted(mine)


@given(st.lists(candidates, max_size=12), st.integers(1, 8), st.floats(0, 100), situations)
def test_no_more_are_held_than_are_looked_ahead_at(
    held: list[Candidate], look_ahead: int, within: float, situation: Situation
) -> None:
    more = missing(held, look_ahead, within, situation)
    assert more >= 0
    assert not more or len(held) + more <= look_ahead


def test_no_more_are_held_than_begin_soon() -> None:
    there = Situation(loaded=loaded("A"), cost=SwitchCost(COST))
    assert missing(needing("A", "A"), 8, 60.0, there) == 6
    assert missing(needing("A", "B", "A", seconds=15.0), 8, 60.0, there) == 0
    assert missing(needing("A"), 8, 60.0, replace(there, busy=58.0)) == 0


@given(several, situations)
def test_what_is_given_back_begins_sooner_elsewhere_and_what_stays_does_not(
    waiting: list[Candidate], situation: Situation
) -> None:
    back = surplus(waiting, situation)
    assert all(waiting[place].may_leave for place in back)
    stays = [one for place, one in enumerate(waiting) if place not in back]
    if situation.elsewhere is None:
        assert back == []
        return
    order = turns(waiting, len(waiting), situation)
    assert not set(order[: situation.places]) & set(back), "the GPU never waits"
    begins = situation
    for number, place in enumerate(order):
        if place in back:
            assert begins.busy > situation.elsewhere
            continue
        if number >= situation.places and waiting[place].may_leave:
            assert begins.busy <= situation.elsewhere
        begins = begins.after(waiting[place])
    assert len(stays) + len(back) == len(waiting)


def test_who_would_wait_for_a_switch_longer_than_an_idle_pod_needs_for_one_is_given_back() -> None:
    there = Situation(busy=3.0, loaded=loaded("A"), cost=SwitchCost(COST), elsewhere=20.0)
    waiting = needing("B", "A", "A", "A", "A", "A")
    assert surplus(waiting, there) == [0, 5]
    assert surplus(waiting, replace(there, elsewhere=None)) == []


def test_the_model_that_is_needed_next_is_known_before_its_turn() -> None:
    there = Situation(loaded=loaded("A"), cost=SwitchCost(COST))
    assert next_use(needing("A", "B", "A", "C"), there) == using("B")
    assert next_use(needing("A", "A"), there) is None
    assert next_use([], there) is None
