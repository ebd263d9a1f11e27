"""A stream's consumer as the queue that jobs come from.

The stream keeps each message until it is acknowledged (work-queue retention); a runtime's
consumer gets those of its subject, and where the queue is fair those of its tenants, whose turns
`queue_agent.cloud.nats.turns` tells. The lease is the consumer's ack wait, or what a delivery
was told by a delayed redelivery, which is how the servers keep it:
https://docs.nats.io/using-nats/developer/develop_jetstream/consumers#acknowledging-messages
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote

import structlog
from nats.aio.msg import Msg
from nats.js.api import ConsumerInfo

from queue_agent.cloud import Backlog, Message, Ordering, Queue, QueuePolicy
from queue_agent.cloud.nats.addresses import NatsAddress
from queue_agent.cloud.nats.connection import Connection
from queue_agent.cloud.nats.publishing import Publisher, publish
from queue_agent.cloud.nats.pulling import GIVE_BACK, NANOSECONDS, pull
from queue_agent.cloud.nats.subjects import TENANT, attributes_of, tenants_subject
from queue_agent.cloud.nats.turns import SENT, Turns, message_id
from queue_agent.cloud.ports import TO_BE_ANSWERED
from queue_agent.cloud.refusals import reason_of
from queue_agent.tasks import together
from queue_agent.wire.errors import LeaseLost, QueueAgentError, Unanswered, Unavailable

log = structlog.get_logger()

MAX_RECEIVES: Final = "queue-agent.max-receives"
DEAD_LETTERS: Final = "queue-agent.dead-letters"
"""A consumer's metadata: after how many deliveries a message goes to which stream."""

_ACKNOWLEDGE: Final = b"+ACK"
_IN_PROGRESS: Final = b"+WPI"
_TERMINATE: Final = b"+TERM"
_EXTEND: Final = "extend a lease"
_KNOWN: Final = 60.0
"""Seconds for which what a consumer prescribes is taken to stay so."""
_LOOK: Final = 2.0
"""Seconds after which an idle agent of a fair queue looks for what was put forward by another."""
_IN_ORDER: Final = 4
"""Of so many questions the first asks for what comes first in the stream, which is where messages
that were given back come from, too."""


@dataclass(frozen=True)
class _Prescribed:
    """What the consumer prescribes."""

    lease: float
    max_receives: int | None
    dead_letters: str
    fair: bool
    """Whether tenants take turns."""


class Leases:
    """Until when what was delivered to this process is its own, by receipt.

    The servers accept whatever is said of a message, whoever has it now, so a process that
    was held up must know by itself that it lost a message. Shared by all queues of a cloud.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def hold(self, receipt: str, since: float, seconds: float) -> None:
        """It was said at that moment, or after, that the lease ends so many seconds later."""
        self._until[receipt] = since + seconds

    def forget(self, receipt: str) -> None:
        """It was given back or acknowledged."""
        self._until.pop(receipt, None)

    def knows(self, receipt: str) -> bool:
        """Whether it was delivered, and neither given back nor acknowledged."""
        return receipt in self._until

    def holds(self, receipt: str) -> bool:
        """Whether nobody else can have the message."""
        return self._clock() < self._until.get(receipt, 0.0)

    def now(self) -> float:
        """The moment, for `hold`."""
        return self._clock()


class NatsQueue(Queue):
    """https://docs.nats.io/nats-concepts/jetstream/consumers

    What was delivered as often as the consumer's metadata allow is delivered on, for its receiver
    to bury: the servers' own limit would only stop delivering it. One that ends its receivers
    goes to the dead letters unanswered in the end.
    """

    def __init__(
        self,
        connection: Connection,
        address: NatsAddress,
        leases: Leases,
        publisher: Publisher,
    ) -> None:
        self._connection = connection
        self._address = address
        self._stream, self._consumer = address.stream, address.consumer
        self._leases = leases
        self._publisher = publisher
        self._turns = Turns(connection, address)
        self._asked = 0
        self._known: _Prescribed | None = None
        self._known_until = 0.0

    async def policy(self) -> QueuePolicy:
        known = await self._prescribed()
        return QueuePolicy(known.lease, known.max_receives)

    async def receive(
        self, count: int, *, wait: float, visibility_timeout: float
    ) -> Sequence[Message]:
        end = self._leases.now() + wait
        while True:
            prescribed = await self._prescribed_lately()
            pulled = await self._pull(count, end, fair=prescribed.fair)
            for raw in pulled:
                self._leases.hold(raw.reply, self._leases.now(), prescribed.lease)
            try:
                own = await self._own(pulled) if prescribed.fair else pulled
                messages = await self._alive(map(_message, own), prescribed)
                await together(
                    self._lease(message, visibility_timeout, prescribed.lease)
                    for message in messages
                )
            except BaseException:  # given up: nobody would know of them until their leases end
                await asyncio.shield(self._give_back(pulled))
                raise
            if messages or self._leases.now() >= end:
                return messages

    async def extend(self, message: Message, seconds: float) -> None:
        await self._reach(message)
        if seconds <= 0:
            await self._connection.request("give a message back", message.receipt, GIVE_BACK)
            self._leases.forget(message.receipt)
            return
        prescribed = self._known.lease if self._known else None
        since = self._leases.now()
        await self._connection.request(_EXTEND, message.receipt, _extension(seconds, prescribed))
        if not self._leases.holds(message.receipt):
            raise LeaseLost(f"The lease of message {message.id} was over before it was extended.")
        self._leases.hold(message.receipt, since, seconds)

    async def delete(self, message: Message) -> None:
        await self._connection.reach()
        if not self._leases.knows(message.receipt):
            raise LeaseLost(f"Message {message.id} is no longer ours.")
        try:
            await self._connection.request("acknowledge a message", message.receipt, _ACKNOWLEDGE)
        except Unanswered as error:
            if await self._was_forgotten(message):
                self._leases.forget(message.receipt)
                raise LeaseLost(
                    f"The server no longer knows that message {message.id} was delivered."
                ) from error
            raise
        self._leases.forget(message.receipt)

    async def bury(self, message: Message) -> None:
        """What is moved again, because the second step failed, is one dead letter all the same."""
        stream = (self._known or await self._prescribed()).dead_letters
        await self._reach(message)
        subject = self._address.subject(stream)
        once = replace(message.ordering, deduplication_id=message.id)
        await publish(self._connection, subject, message.body, message.attributes, once)
        await self._connection.request("terminate a message", message.receipt, _TERMINATE)
        self._leases.forget(message.receipt)

    async def send(
        self,
        body: str,
        attributes: Mapping[str, str],
        ordering: Ordering | None = None,
        *,
        delay: float = 0.0,
    ) -> None:
        del delay  # there are none
        await self._publisher.publish(
            self._address.subject(), body, attributes, ordering or Ordering()
        )

    async def backlog(self) -> Backlog:
        fair = (await self._prescribed_lately()).fair
        names = [self._consumer, *([self._address.turns] if fair else [])]
        found = await together(map(self._info, names))
        waiting, in_flight = (
            sum(getattr(info, count) or 0 for info in found)
            for count in ("num_pending", "num_ack_pending")
        )
        return Backlog(waiting, in_flight)

    async def _pull(self, count: int, end: float, *, fair: bool) -> list[Msg]:
        """What a fair queue gives may have been put forward meanwhile: `_own` tells."""

        def left() -> float:
            return max(0.0, end - self._leases.now())

        if not fair:
            return await self._ask(self._consumer, count, wait=left())
        self._asked += 1
        if self._asked % _IN_ORDER == 0 and (found := await self._in_order(count, wait=0.0)):
            return found
        if found := await self._ask(self._address.turns, count, wait=0.0):
            return found
        if await self._turns.put_forward(count) and (
            found := await self._ask(self._address.turns, count, wait=0.0)
        ):
            return found
        return await self._in_order(count, wait=min(left(), _LOOK))

    async def _in_order(self, count: int, *, wait: float) -> list[Msg]:
        """What comes first in the stream, one at a time while several tenants wait."""
        return await self._ask(self._consumer, 1 if self._turns.several else count, wait=wait)

    async def _ask(self, consumer: str, count: int, *, wait: float) -> list[Msg]:
        return await pull(self._connection, self._stream, consumer, count, wait=wait)

    async def _own(self, pulled: Sequence[Msg]) -> Sequence[Msg]:
        """Those that nobody has put forward, whose copies count; the others are acknowledged."""

        async def is_own(raw: Msg) -> bool:
            if raw.metadata.consumer == self._address.turns:
                return True
            if not await self._turns.was_put_forward(raw.metadata.sequence.stream):
                return True
            await self._connection.request("acknowledge a message", raw.reply, _ACKNOWLEDGE)
            self._leases.forget(raw.reply)
            return False

        own = await together(map(is_own, pulled))
        return [raw for raw, is_its in zip(pulled, own, strict=True) if is_its]

    async def _info(self, consumer: str) -> ConsumerInfo:
        async with self._connection.using("read the consumer") as js:
            info: ConsumerInfo = await js.consumer_info(self._stream, consumer)
            return info

    async def _reach(self, message: Message) -> None:
        """Raises `LeaseLost` where, once there is a connection, the lease is over."""
        await self._connection.reach()
        if not self._leases.holds(message.receipt):
            self._leases.forget(message.receipt)
            raise LeaseLost(f"The lease of message {message.id} is over.")

    async def _prescribed_lately(self) -> _Prescribed:
        """It is asked again in a while, since a queue may become fair."""
        if self._known is None or self._leases.now() >= self._known_until:
            return await self._prescribed()
        return self._known

    async def _prescribed(self) -> _Prescribed:
        config = (await self._info(self._consumer)).config
        told = config.metadata or {}
        most = told.get(MAX_RECEIVES, "")
        dead_letters = told.get(DEAD_LETTERS, "")
        place = tenants_subject(self._address.subject())
        self._known = _Prescribed(
            lease=config.ack_wait or 30.0,
            max_receives=int(most) if most.isdigit() and dead_letters else None,
            dead_letters=dead_letters,
            fair=place in (config.filter_subjects or ()) and await self._has_turns(),
        )
        self._known_until = self._leases.now() + _KNOWN
        return self._known

    async def _has_turns(self) -> bool:
        try:
            await self._info(self._address.turns)
        except Unavailable as error:
            if reason_of(error) != "not_found":
                raise
            return False
        return True

    async def _was_forgotten(self, message: Message) -> bool:
        """Whether the delivery was the last thing that a killed server did, and not written.

        It answers to no acknowledgement then, and delivers the message again, as the first time.
        """
        told = Msg.Metadata._from_reply(message.receipt)  # noqa: SLF001  no other way
        info = await self._info(told.consumer)
        delivered = info.delivered.stream_seq if info.delivered else 0
        return delivered < told.sequence.stream

    async def _lease(self, message: Message, seconds: float, prescribed: float) -> None:
        """Make the lease as long as was asked for; where that fails it is the consumer's."""
        if seconds == prescribed:
            return
        try:
            await self.extend(message, seconds)
        except (LeaseLost, Unavailable) as error:
            log.warning("lease not changed", message_id=message.id, reason=error.message)

    async def _give_back(self, pulled: Sequence[Msg]) -> None:
        for raw in pulled:
            if self._leases.knows(raw.reply):
                with suppress(QueueAgentError):
                    await self.extend(_message(raw), 0)

    async def _alive(
        self, messages: Iterable[Message], prescribed: _Prescribed
    ) -> Sequence[Message]:
        """Those that may be delivered; the others are put aside."""
        return [message for message in messages if not await self._is_dead(message, prescribed)]

    async def _is_dead(self, message: Message, prescribed: _Prescribed) -> bool:
        """Whether all who might answer it were ended; it is put aside, or comes later."""
        most = prescribed.max_receives
        if most is None or message.receive_count <= most + TO_BE_ANSWERED:
            return False
        log.warning("dead letter without an answer", message_id=message.id)
        try:
            await self.bury(message)
        except (LeaseLost, Unavailable) as error:
            log.warning("dead letter not moved", message_id=message.id, reason=error.message)
        return True


def _extension(seconds: float, prescribed: float | None) -> bytes:
    if seconds == prescribed:
        return _IN_PROGRESS
    return GIVE_BACK + b" " + json.dumps({"delay": round(seconds * NANOSECONDS)}).encode()


def _message(raw: Msg) -> Message:
    told, headers = raw.metadata, raw.headers or {}
    sent_at = float(headers.get(SENT) or told.timestamp.timestamp())
    return Message(
        # Of a copy another than its original's: who works on that has claimed the job against it.
        id=message_id(told.sequence.stream, sent_at),
        body=raw.data.decode(errors="replace"),
        receipt=raw.reply,
        receive_count=told.num_delivered,
        sent_at=sent_at,
        attributes=attributes_of(headers),
        tenant=unquote(headers.get(TENANT, "")) or None,
    )
