"""The queues of one agent: whichever has a message is heard at once, and a rule says whose turn.

While jobs are there, the queues whose turn it is are asked for what they have at once; one that
was found empty is not asked again for `EMPTY_FOR` seconds. When none has anything, all are polled
at the same time, each for one message and for `LONGEST_POLL` seconds at most, since a poll of SQS
must not be cut off: what it may have been given by then would be hidden until its lease ends. So a
poll goes on when another queue has brought a message, and what it still brings is worked on next.

An agent of one queue polls it as long as it may, for as many messages as it wants.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import structlog

from queue_agent.cloud import Backlog, Message, Queue
from queue_agent.telemetry.metrics import Metrics
from queue_agent.wire.errors import Unavailable
from queue_agent.worker.queue_order import QueueOrder, strict

log = structlog.get_logger()

EMPTY_FOR: Final = 1.0
"""Seconds for which one of several queues is not asked again that had nothing."""
LONGEST_POLL: Final = 5.0
"""Seconds for which one of several is polled."""
_SHORT_POLL: Final = 1.0
"""Where fewer polls may be open than there are queues, so that each has its turn soon."""
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 20.0

Take = Callable[[Sequence[Message], float], None]
"""Given the messages of one answer and when it was asked for; they are never none."""


@dataclass
class _Standing:
    """What is known of one queue. Times are by the clock."""

    poll: asyncio.Task[None] | None = None
    """What it is asked for now."""
    waits: bool = False
    """Whether that is a long poll: it has had nothing then."""
    asked_for: int = 0
    """Messages, by that."""
    asked_at: float = float("-inf")
    empty_until: float = float("-inf")
    away_until: float = float("-inf")
    pause: float = _FIRST_PAUSE
    missing: str | None = "Nothing was received yet."

    def may_have(self, now: float) -> bool:
        """Whether it may have messages, as far as is known."""
        polled = self.poll is not None and self.waits
        return not polled and max(self.empty_until, self.away_until) <= now


@dataclass
class Queues:
    """Asks for messages, and hands each to `take`. Durations are in seconds."""

    queues: Mapping[str, Queue]
    """By name, the most urgent first; the only one of an agent may have none."""
    order: QueueOrder
    lease: float
    metrics: Metrics = field(default_factory=Metrics)
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    take: Take = field(default=lambda _messages, _asked: None, init=False)
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]] = field(
        default=asyncio.create_task, init=False
    )
    """Starts what asks, in the group of tasks that is to end with what goes wrong in it."""
    _known: dict[str, _Standing] = field(init=False)
    _answers: int = field(default=0, init=False)
    """That brought messages."""

    def __post_init__(self) -> None:
        self._known = {name: _Standing() for name in self.queues}

    @classmethod
    def only(cls, queue: Queue, **given: Any) -> "Queues":
        """Those of an agent that has but one."""
        return cls({"": queue}, strict([""]), **given)

    def of(self, message: Message) -> Queue:
        """Where it came from."""
        return self.queues[message.queue]

    @property
    def missing(self) -> str | None:
        """Why messages of a queue are not received; None while all are heard."""
        told = ((name, one.missing) for name, one in self._known.items() if one.missing)
        return next((f"{name}: {why}" if name else why for name, why in told), None)

    async def receive(self, count: int, *, most: int, wait: float) -> None:
        """Take up to `count` messages, waiting for the first as long as a long poll lasts.

        `most`: so many may be asked for in all, by polls that still go on, too.
        """
        if len(self.queues) == 1:
            await self._only_one(min(count, most), wait)
            return
        before, end = self._answers, self.clock() + wait
        await self._sweep(min(count, most - self._asked_for))
        while wait and self._answers == before:
            self._poll(most, wait)
            await self._change(end)
            if self.clock() >= end:
                break

    async def _only_one(self, count: int, wait: float) -> None:
        (name,) = self.queues
        await self._until_one_is_back()
        await asyncio.wait({self._known[name].poll or self._ask(name, count, wait=wait)})

    async def waiting(self) -> int:
        """How many messages wait in all of them, about.

        Raises:
            Unavailable: one of them does not tell.
        """
        return (await Backlog.of_all(self.queues.values())).waiting

    async def end(self, patience: float) -> None:
        """Let what is asked for now come for so long, and then give it up."""
        polls = {one.poll for one in self._known.values() if one.poll}
        if polls:
            await asyncio.wait(polls, timeout=patience)
            for poll in polls:
                poll.cancel()
            await asyncio.wait(polls)

    @property
    def _asked_for(self) -> int:
        return sum(one.asked_for for one in self._known.values())

    async def _sweep(self, count: int) -> None:
        """Ask those that may have messages for what they have at once, by whose turn it is."""
        before, began = self._answers, self.clock()
        while self._answers == before and count > 0:
            waiting = [name for name, one in self._known.items() if one.may_have(self.clock())]
            if not waiting:
                break
            wanted = Counter(self.order.turns(waiting, count))
            polls = [self._ask(*each, wait=0, since=began) for each in wanted.items()]
            await asyncio.wait(polls)

    def _poll(self, most: int, longest: float) -> None:
        """Have a poll on each queue that has none, or on those that were asked the longest ago."""
        now, room = self.clock(), most - self._asked_for
        known = self._known.items()
        free = [name for name, one in known if one.poll is None and one.away_until <= now]
        wait = min(longest, LONGEST_POLL if len(free) <= room else _SHORT_POLL)
        free.sort(key=lambda name: self._known[name].asked_at)
        for name in free[: max(0, room)]:
            self._ask(name, 1, wait=wait)

    async def _change(self, end: float) -> None:
        """Wait until a poll is over, or until `end`."""
        polls = {one.poll for one in self._known.values() if one.poll}
        if not polls:
            await self._until_one_is_back()
            return
        left = max(0.0, end - self.clock())
        await asyncio.wait(polls, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    def _ask(
        self, name: str, count: int, *, wait: float, since: float | None = None
    ) -> asyncio.Task[None]:
        """`since`: when asking for these messages began, if that was with another queue."""
        one = self._known[name]
        one.asked_for, one.asked_at, one.waits = count, self.clock(), wait > 0
        asked = one.asked_at if since is None else since
        one.poll = self.spawn(self._answer(name, one, count, wait, asked))
        return one.poll

    async def _answer(
        self, name: str, one: _Standing, count: int, wait: float, asked: float
    ) -> None:
        try:
            messages = await self.queues[name].receive(
                count, wait=wait, visibility_timeout=self.lease
            )
        except Unavailable as error:
            self._failed(name, one, error)
            return
        finally:
            one.poll, one.asked_for = None, 0
        one.missing, one.pause = None, _FIRST_PAUSE
        one.empty_until = float("-inf") if messages else self.clock() + EMPTY_FOR
        self.metrics.received(messages, now=self.now(), queue=name)
        if messages:
            self._taken(name, len(messages))
            self.take([replace(message, queue=name) for message in messages], asked)

    def _taken(self, name: str, count: int) -> None:
        self._answers += 1
        known, now = self._known.items(), self.clock()
        waiting = {other for other, one in known if other == name or one.may_have(now)}
        for _ in range(count):
            self.order = self.order.after(name, waiting)

    def _failed(self, name: str, one: _Standing, error: Unavailable) -> None:
        """Ask again after a while, the longer the more often it failed."""
        one.missing = error.message
        one.away_until = self.clock() + one.pause * random.uniform(0.5, 1.0)  # noqa: S311  no secret
        self.metrics.receive_failed(queue=name)
        log.debug("receive failed", queue=name, reason=error.message, pause=one.pause)
        one.pause = min(2 * one.pause, _LONGEST_PAUSE)

    async def _until_one_is_back(self) -> None:
        """Wait until one of them may be asked, where all were away."""
        back = min(one.away_until for one in self._known.values())
        await asyncio.sleep(max(0.0, back - self.clock()))
