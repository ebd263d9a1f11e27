"""From which of several queues the next message is taken: pure functions of what was taken before.

Queues stand in an order, the most urgent first. All rules share two properties: they never leave
a turn to a queue without work while another has some, and no queue with work waits for ever.

    strict      the first that has work; each other one that waits has its turn after at most
                `STRICT_BOUND` messages, and one more for each queue that is owed its turn, too
    reserved    the same with a share of one's own for each queue, in percent of all messages
    weighted    in proportion to the queues' weights; what those without work leave goes to the
                others by their weights

A share counts messages, whatever their jobs take.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Self

QueueRule = Literal["strict", "reserved", "weighted"]

STRICT_BOUND: Final = 20
"""Messages of more urgent queues that may go before one that waits."""
_WHOLE: Final = 100
"""Percent."""


@dataclass(frozen=True)
class QueueOrder(ABC):
    """A rule, and what it must know of the messages taken so far. Never changed: see `after`."""

    queues: tuple[str, ...]
    """Their names, the most urgent first."""

    @abstractmethod
    def next(self, waiting: Collection[str]) -> str:
        """Whose turn it is among those with work, of which there must be one."""

    @abstractmethod
    def after(self, taken: str, waiting: Collection[str]) -> Self:
        """The same once a message of `taken` was, while those in `waiting` had work."""

    def turns(self, waiting: Collection[str], count: int) -> Sequence[str]:
        """The next turns, if those with work have enough of it."""
        order, turns = self, []
        for _ in range(count):
            turns.append(order.next(waiting))
            order = order.after(turns[-1], waiting)
        return turns


@dataclass(frozen=True)
class Reserved(QueueOrder):
    """The first in order that has work, but for those that are owed a turn by their share.

    With each message that is taken, whichever queue it is of, every queue with work earns its
    share; whoever has earned a whole message goes first, of several the one that should have had
    it the earliest. An idle queue earns nothing.
    """

    shares: Mapping[str, int] = field(default_factory=dict)
    """In percent, together a hundred at most; a queue that is not named has none."""
    earned: Mapping[str, int] = field(default_factory=dict)
    """In percent of a message."""

    def __post_init__(self) -> None:
        if sum(self.shares.values()) > _WHOLE:
            raise ValueError("the shares are more than 100 % together")

    def next(self, waiting: Collection[str]) -> str:
        owed = [name for name in self.queues if name in waiting and self._is_owed(name)]
        if owed:
            return min(owed, key=self._due)
        return next(name for name in self.queues if name in waiting)

    def after(self, taken: str, waiting: Collection[str]) -> Self:
        by_share = self._is_owed(taken)
        earned = {
            name: self.earned.get(name, 0) + share
            for name, share in self.shares.items()
            if name in waiting
        }
        if by_share:
            earned[taken] = earned.get(taken, self.earned[taken]) - _WHOLE
        return replace(self, earned=earned)

    def _is_owed(self, name: str) -> bool:
        return self.earned.get(name, 0) >= _WHOLE

    def _due(self, name: str) -> float:
        """Messages from now at which the turn must be had, not to fall behind."""
        return (2 * _WHOLE - self.earned[name]) / self.shares[name]


@dataclass(frozen=True)
class Weighted(QueueOrder):
    """In proportion to weights (start-time fair queueing, Goyal and others 1996)."""

    weights: Mapping[str, int] = field(default_factory=dict)
    """At least 1; a queue that is not named has 1."""
    starts: Mapping[str, float] = field(default_factory=dict)
    """When each queue's next turn begins, in the rule's own time."""
    now: float = 0.0
    """In that time: where the latest turn began."""

    def next(self, waiting: Collection[str]) -> str:
        return min((name for name in self.queues if name in waiting), key=self._start)

    def after(self, taken: str, waiting: Collection[str]) -> Self:
        del waiting
        start = self._start(taken)
        length = 1 / self.weights.get(taken, 1)
        starts = {**self.starts, taken: start + length}
        return replace(self, starts=starts, now=max(self.now, start))

    def _start(self, name: str) -> float:
        """One that had no work has no claim to what it left to others."""
        return max(self.now, self.starts.get(name, 0.0))


def strict(queues: Sequence[str]) -> Reserved:
    """The first that has work; the others have as small a share as keeps them from starving."""
    share = min(_WHOLE // STRICT_BOUND, _WHOLE // max(1, len(queues) - 1))
    return Reserved(tuple(queues), dict.fromkeys(queues[1:], share))


def by_rule(rule: QueueRule, queues: Sequence[str], shares: Mapping[str, int]) -> QueueOrder:
    """The order of a rule by its name; `shares` are weights, or percent, and may leave some out.

    Raises:
        ValueError: more is reserved than there is.
    """
    match rule:
        case "strict":
            return strict(queues)
        case "reserved":
            return Reserved(tuple(queues), shares)
        case "weighted":
            return Weighted(tuple(queues), shares)
