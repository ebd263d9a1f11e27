"""A queue in memory."""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from queue_agent.cloud.memory.clock import Clock, SystemClock
from queue_agent.cloud.memory.fairness import Fairness
from queue_agent.cloud.memory.faults import Faults
from queue_agent.cloud.memory.repetitions import Repetitions
from queue_agent.cloud.ports import TO_BE_ANSWERED, Backlog, Message, Queue, QueuePolicy
from queue_agent.wire.errors import LeaseLost
from queue_agent.wire.publication import Ordering

_LONGEST_DELAY = 900.0
"""Seconds, as SQS has it."""
_NUMBERS = itertools.count(1)
"""No two messages of a process have the same id."""


@dataclass
class _Held:
    """A message as the queue keeps it."""

    id: str
    body: str
    attributes: Mapping[str, str]
    sent_at: float
    group: str | None = None
    tenant: str | None = None
    delivered_at: float | None = None
    """The latest time."""
    receive_count: int = 0
    receipt: str | None = None
    """Of the latest delivery."""
    visible_at: float = 0.0


class MemoryQueue(Queue):
    """Delivers in the order of sending, each message until it is deleted.

    Where tenants are told, it is fair among them as SQS's standard queues are.

    With `fifo` it keeps the order of a group's messages even where one of them is given back,
    and takes what is sent with the same deduplication id once.

    What was delivered `max_receives` times goes to the dead-letter queue when it would be
    delivered once more, with its id, its time of sending and its receive count. Unless
    `moves_dead_letters`, it is delivered on, to be buried, as on NATS.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        faults: Faults | None = None,
        *,
        visibility_timeout: float = 30.0,
        max_receives: int | None = None,
        dead_letters: "MemoryQueue | None" = None,
        fifo: bool = False,
        moves_dead_letters: bool = True,
    ) -> None:
        """`max_receives` and `dead_letters` go together."""
        if (max_receives is None) != (dead_letters is None):
            raise ValueError("max_receives and dead_letters go together")
        self._policy = QueuePolicy(visibility_timeout, max_receives)
        self._clock = clock or SystemClock()
        self._faults = faults or Faults()
        self._dead_letters = dead_letters
        self._moves_dead_letters = moves_dead_letters
        self.fifo = fifo
        self._repetitions = Repetitions(self._clock)
        self._fairness = Fairness()
        self._held: dict[str, _Held] = {}
        self._waiting: set[asyncio.Event] = set()

    @property
    def bodies(self) -> Sequence[str]:
        """The bodies of all messages that are not deleted, delivered or not."""
        return [held.body for held in self._held.values()]

    async def policy(self) -> QueuePolicy:
        async with self._faults.around("queue.policy"):
            return self._policy

    async def receive(
        self, count: int, *, wait: float, visibility_timeout: float
    ) -> Sequence[Message]:
        async with self._faults.around("queue.receive"):
            end = self._clock.now() + wait
            while not (messages := self._take(count, visibility_timeout)):
                if self._clock.now() >= end:
                    break
                await self._change(end)
            return messages

    async def extend(self, message: Message, seconds: float) -> None:
        async with self._faults.around("queue.extend", message.body):
            self._show(self._leased(message), seconds)

    async def delete(self, message: Message) -> None:
        async with self._faults.around("queue.delete", message.body):
            held = self._of(message)
            del self._held[held.id]
            self._count(held, min(held.visible_at, self._clock.now()))

    async def bury(self, message: Message) -> None:
        if self._moves_dead_letters:
            await super().bury(message)
            return
        async with self._faults.around("queue.bury", message.body):
            held = self._leased(message)
            held.visible_at = self._clock.now()
            self._count(held, held.visible_at)
            self._bury(held)

    @property
    def longest_delay(self) -> float:
        return 0.0 if self.fifo else _LONGEST_DELAY

    async def send(
        self,
        body: str,
        attributes: Mapping[str, str],
        ordering: Ordering | None = None,
        *,
        delay: float = 0.0,
    ) -> None:
        async with self._faults.around("queue.send", body):
            self.put(body, attributes, ordering, delay=delay)

    async def backlog(self) -> Backlog:
        async with self._faults.around("queue.backlog"):
            now = self._clock.now()
            hidden = [held for held in self._held.values() if held.visible_at > now]
            in_flight = sum(held.receive_count > 0 for held in hidden)  # others are delayed
            return Backlog(len(self._held) - len(hidden), in_flight)

    def put(
        self,
        body: str,
        attributes: Mapping[str, str],
        ordering: Ordering | None = None,
        *,
        delay: float = 0.0,
    ) -> None:
        """Send without a loop and past all faults, as topics do."""
        now = self._clock.now()
        held = _Held(f"message-{next(_NUMBERS)}", body, dict(attributes), now)
        held.visible_at = now + delay if delay else 0.0
        if self.fifo:
            ordering = ordering or Ordering()
            held.group = ordering.group or ordering.deduplication_id
            if self._repetitions.is_one(ordering):
                return
        elif ordering is not None and ordering.tenant:
            held.tenant = ordering.tenant
            self._fairness.sent(held.tenant, held.sent_at)
        self._accept(held)

    def _accept(self, held: _Held) -> None:
        """Keep a message that is new, or the dead letter of another queue."""
        self._held[held.id] = held
        self._wake()

    def _of(self, message: Message) -> _Held:
        """What is kept of the message, if it was not delivered again or deleted since."""
        held = self._held.get(message.id)
        if held is None or held.receipt != message.receipt:
            raise LeaseLost(f"The receipt of message {message.id} is no longer valid.")
        return held

    def _leased(self, message: Message) -> _Held:
        """The same, if its lease is not over."""
        held = self._of(message)
        if held.visible_at <= self._clock.now():
            raise LeaseLost(f"Message {message.id} is not delivered to anyone.")
        return held

    def _take(self, count: int, visibility_timeout: float) -> Sequence[Message]:
        now = self._clock.now()
        taken: list[Message] = []
        hidden = [held for held in self._held.values() if held.visible_at > now]
        blocked = {held.group for held in hidden if held.group is not None}
        for held in self._ready(hidden, now):
            if len(taken) == count:
                break
            if held.group in blocked:
                continue
            self._count(held, held.visible_at)
            if self._is_dead(held):
                self._bury(held)
                continue
            held.receive_count += 1
            held.receipt = f"{held.id}/{held.receive_count}"
            held.delivered_at = now
            self._show(held, visibility_timeout)
            taken.append(_message(held, held.receipt))
        self._fairness.used_up({message.tenant for message in taken} - self._tenants(now), now)
        return taken

    def _ready(self, hidden: Sequence[_Held], now: float) -> Sequence[_Held]:
        """What may be delivered, in the order in which it shall be."""
        ready = [held for held in self._held.values() if held.visible_at <= now]
        if all(held.tenant is None for held in ready):
            return ready
        rank = self._fairness.rank([(it.tenant, it.delivered_at or now) for it in hidden], now)
        return sorted(ready, key=lambda held: rank(held.tenant))

    def _tenants(self, now: float) -> set[str | None]:
        """Whose messages wait."""
        return {held.tenant for held in self._held.values() if held.visible_at <= now}

    def _count(self, held: _Held, until: float) -> None:
        """That the message was being worked on, if it was delivered, and is no longer."""
        if held.delivered_at is not None:
            self._fairness.processed(held.tenant, held.delivered_at, until)
            held.delivered_at = None

    def _is_dead(self, held: _Held) -> bool:
        """Whether it was delivered for the last time."""
        most = self._policy.max_receives
        more = 0 if self._moves_dead_letters else TO_BE_ANSWERED
        return most is not None and held.receive_count >= most + more

    def _bury(self, held: _Held) -> None:
        assert self._dead_letters is not None  # noqa: S101  goes together with max_receives
        del self._held[held.id]
        held.receipt = None
        self._dead_letters._accept(held)  # noqa: SLF001  a queue of the same kind

    def _show(self, held: _Held, seconds: float) -> None:
        """Let the message be seen again in so many seconds."""
        held.visible_at = self._clock.now() + seconds
        self._wake()

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    async def _change(self, end: float) -> None:
        """Wait until there may be a message to deliver, until `end` at most."""
        event, now = asyncio.Event(), self._clock.now()
        hidden = [held.visible_at for held in self._held.values() if held.visible_at > now]
        timer = self._clock.call_at(min([*hidden, end]), event.set)
        self._waiting.add(event)
        try:
            await event.wait()
        finally:
            self._waiting.discard(event)
            timer.cancel()


def _message(held: _Held, receipt: str) -> Message:
    return Message(
        id=held.id,
        body=held.body,
        receipt=receipt,
        receive_count=held.receive_count,
        sent_at=held.sent_at,
        attributes=dict(held.attributes),
        group=held.group,
        tenant=held.tenant,
    )
