"""Whose turn it is among the jobs that an agent holds, and what it gives back: a pure function.

The earliest deadline goes first; of equal ones, and of jobs without, who was ready first. Where
that one needs another model than is loaded, one goes before it that does not, as long as nobody
misses a deadline by it. Of a tenant that has as many at the runtime as it may, none goes while
another's waits; with nobody else there it has all places. Nobody starves: who was overtaken so
many times as is allowed goes before all that were ready later, once its tenant may. Of a group
that a queue keeps in order, none goes before one that was ready earlier.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from queue_agent.runtime.model_use import Lack, Loaded, ModelUse

MOST_OVERTAKEN: Final = 4
"""So many jobs that were ready later may go before a job, unless more are looked ahead at."""
_WORTH: Final = 0.5
"""Seconds; a switch that takes less is no reason for another order."""
_UNKNOWN: Final[Mapping[Lack, float]] = {"nothing": 0.0, "loras": 0.0, "model": 10.0}
"""Seconds that it is taken for until one was seen."""


@dataclass(frozen=True)
class SwitchCost:
    """Seconds by which a run is longer that has something to load; None: none was seen yet."""

    model: float | None = None
    loras: float | None = None

    def of(self, lack: Lack) -> float:
        """Seconds, as far as is known."""
        seen = {"nothing": 0.0, "loras": self.loras, "model": self.model}[lack]
        return _UNKNOWN[lack] if seen is None else seen


@dataclass(frozen=True)
class Candidate:
    """A job that waits for the runtime."""

    deadline: float | None = None
    """Seconds since the epoch; None: whenever."""
    overtaken: int = 0
    """How many that were ready later went before it."""
    group: str | None = None
    """What it is kept in order with."""
    use: ModelUse = field(default_factory=ModelUse)
    """What it has the runtime load."""
    seconds: float = 0.0
    """On the GPU, by forecast, without what is to be loaded."""
    tenant: str | None = None
    """Whose it is; None: nobody's, for whom there is no limit."""
    may_leave: bool = True
    """Whether its message may be given back."""


@dataclass(frozen=True)
class Situation:
    """What counts for an order beside those that wait. Durations are in seconds."""

    now: float = 0.0
    """Since the epoch."""
    busy: float = 0.0
    """Until the runtime is done with what it has."""
    places: int = 1
    """How many jobs it works on at once."""
    loaded: Loaded = field(default_factory=Loaded)
    """Once it has begun with all that it has."""
    cost: SwitchCost = field(default_factory=SwitchCost)
    by_deadline: bool = True
    by_model: bool = True
    most_overtaken: int = MOST_OVERTAKEN
    """Who was overtaken so often is not again."""
    tenant_limit: int | None = None
    """While another's waits, no more jobs of a tenant go than make so many at the runtime."""
    at_work: Mapping[str, int] = field(default_factory=dict)
    """How many jobs of a tenant the runtime has."""
    elsewhere: float | None = None
    """How soon another pod would begin with what is given back; None: none is idle."""

    def cost_of(self, candidate: Candidate) -> float:
        """Seconds to load what it needs; 0 where that is too little to matter."""
        cost = self.cost.of(self.loaded.lacks(candidate.use))
        return cost if cost >= _WORTH else 0.0

    def has_place(self, candidate: Candidate) -> bool:
        """Whether its tenant has less at the runtime than it may."""
        if self.tenant_limit is None or candidate.tenant is None:
            return True
        return self.at_work.get(candidate.tenant, 0) < self.tenant_limit

    def after(self, candidate: Candidate) -> "Situation":
        """What counts once that one has gone."""
        takes = (self.cost_of(candidate) + candidate.seconds) / self.places
        at_work = self.at_work
        if self.tenant_limit is not None and candidate.tenant is not None:
            at_work = {**at_work, candidate.tenant: at_work.get(candidate.tenant, 0) + 1}
        loaded = self.loaded.after(candidate.use)
        return replace(self, busy=self.busy + takes, loaded=loaded, at_work=at_work)


def turns(waiting: Sequence[Candidate], room: int, situation: Situation | None = None) -> list[int]:
    """Places of those that go now, in their order; `waiting` is by when each was ready."""
    return [place for place, _ in islice(_all_turns(waiting, situation or Situation()), room)]


def surplus(waiting: Sequence[Candidate], situation: Situation) -> list[int]:
    """Places of those to give back: another pod would begin with them sooner.

    What goes next stays, so that the GPU does not wait, and so does what must.
    """
    elsewhere = situation.elsewhere
    if elsewhere is None:
        return []
    order = [place for place, _ in _all_turns(waiting, situation)]
    given_back = []
    for number, place in enumerate(order):
        candidate = waiting[place]
        is_sooner = situation.busy > elsewhere
        if number >= situation.places and candidate.may_leave and is_sooner:
            given_back.append(place)
        else:
            situation = situation.after(candidate)
    return given_back


def missing(held: Sequence[Candidate], look_ahead: int, within: float, situation: Situation) -> int:
    """How many more to hold, so that there are `look_ahead` to choose from.

    None where those held keep the runtime busy for longer than `within` seconds.
    """
    for place, then in _all_turns(held, situation):
        situation = then.after(held[place])
    return 0 if situation.busy > within else max(0, look_ahead - len(held))


def next_use(waiting: Sequence[Candidate], situation: Situation) -> ModelUse | None:
    """What the first in the order needs that lacks a model, and only that; None: nobody does."""
    for place, then in _all_turns(waiting, situation):
        if then.loaded.lacks(waiting[place].use) == "model":
            return waiting[place].use
    return None


def _all_turns(
    waiting: Sequence[Candidate], situation: Situation
) -> Iterator[tuple[int, Situation]]:
    """Places in their order, each with what counts when its turn comes."""
    left = dict(enumerate(waiting))
    while left:
        place = _next(left, situation)
        yield place, situation
        situation = situation.after(left.pop(place))
        for other in [other for other in left if other < place]:
            left[other] = replace(left[other], overtaken=left[other].overtaken + 1)


def _next(left: Mapping[int, Candidate], situation: Situation) -> int:
    first: dict[str, int] = {}
    may_go = [
        place
        for place, candidate in left.items()
        if candidate.group is None or first.setdefault(candidate.group, place) == place
    ]
    free = []
    for place in [place for place in may_go if situation.has_place(left[place])] or may_go:
        candidate = left[place]
        if candidate.overtaken >= situation.most_overtaken:
            return place  # of several, who was ready first
        moment = candidate.deadline if situation.by_deadline else None
        free.append((float("inf") if moment is None else moment, place))
    order = [place for _, place in sorted(free)]
    return _without_switch(order, left, situation) if situation.by_model else order[0]


def _without_switch(
    order: Sequence[int], left: Mapping[int, Candidate], situation: Situation
) -> int:
    """The first of those that cost least, or whom it would make late."""
    best, least = order[0], situation.cost_of(left[order[0]])
    then, slack = situation, float("inf")
    for place in order:
        candidate = left[place]
        cost = situation.cost_of(candidate)
        if cost < least and candidate.seconds / situation.places <= slack:
            best, least = place, cost
        if not least:
            break
        then = then.after(candidate)
        if candidate.deadline is not None and situation.by_deadline:
            spare = candidate.deadline - situation.now - then.busy
            slack = min(slack, spare) if spare >= 0 else slack
    return best
