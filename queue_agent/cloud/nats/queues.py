"""A stream's consumer as the queue that jobs come from.

The stream keeps each message until it is acknowledged (work-queue retention); a runtime's
consumer gets those of its subject. The lease is the consumer's ack wait, or what a delivery
was told by a delayed redelivery, which is how the servers keep it:
https://docs.nats.io/using-nats/developer/develop_jetstream/consumers#acknowledging-messages
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog
from nats.aio.msg import Msg

from queue_agent.cloud import Backlog, Message, Ordering, Queue, QueuePolicy
from queue_agent.cloud.nats.addresses import NatsAddress
from queue_agent.cloud.nats.connection import Connection
from queue_agent.cloud.nats.publishing import publish
from queue_agent.cloud.nats.pulling import GIVE_BACK, NANOSECONDS, pull
from queue_agent.cloud.nats.subjects import attributes_of
from queue_agent.cloud.ports import TO_BE_ANSWERED
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


@dataclass(frozen=True)
class _Prescribed:
    """What the consumer prescribes."""

    lease: float
    max_receives: int | None
    dead_letters: str


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

    def __init__(self, connection: Connection, address: NatsAddress, leases: Leases) -> None:
        self._connection = connection
        self._address = address
        self._stream, self._consumer = address.stream, address.consumer
        self._leases = leases
        self._known: _Prescribed | None = None

    async def policy(self) -> QueuePolicy:
        self._known = await self._prescribed()
        return QueuePolicy(self._known.lease, self._known.max_receives)

    async def receive(
        self, count: int, *, wait: float, visibility_timeout: float
    ) -> Sequence[Message]:
        self._known = prescribed = self._known or await self._prescribed()
        end = self._leases.now() + wait
        while True:
            left = max(0.0, end - self._leases.now())
            pulled = await pull(self._connection, self._stream, self._consumer, count, wait=left)
            for raw in pulled:
                self._leases.hold(raw.reply, self._leases.now(), prescribed.lease)
            try:
                messages = await self._alive(map(_message, pulled), prescribed)
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
        once = Ordering(deduplication_id=message.id)
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
        await publish(
            self._connection, self._address.subject(), body, attributes, ordering or Ordering()
        )

    async def backlog(self) -> Backlog:
        async with self._connection.using("read the consumer") as js:
            info = await js.consumer_info(self._stream, self._consumer)
        return Backlog(info.num_pending or 0, info.num_ack_pending or 0)

    async def _reach(self, message: Message) -> None:
        """Raises `LeaseLost` where, once there is a connection, the lease is over."""
        await self._connection.reach()
        if not self._leases.holds(message.receipt):
            self._leases.forget(message.receipt)
            raise LeaseLost(f"The lease of message {message.id} is over.")

    async def _prescribed(self) -> _Prescribed:
        async with self._connection.using("read the consumer") as js:
            info = await js.consumer_info(self._stream, self._consumer)
        told = info.config.metadata or {}
        most = told.get(MAX_RECEIVES, "")
        dead_letters = told.get(DEAD_LETTERS, "")
        return _Prescribed(
            lease=info.config.ack_wait or 30.0,
            max_receives=int(most) if most.isdigit() and dead_letters else None,
            dead_letters=dead_letters,
        )

    async def _was_forgotten(self, message: Message) -> bool:
        """Whether the delivery was the last thing that a killed server did, and not written.

        It answers to no acknowledgement then, and delivers the message again, as the first time.
        """
        async with self._connection.using("read the consumer") as js:
            info = await js.consumer_info(self._stream, self._consumer)
        delivered = info.delivered.stream_seq if info.delivered else 0
        return delivered < int(message.id.partition("-")[0])

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
    told = raw.metadata
    sent_at = told.timestamp.timestamp()
    return Message(
        id=f"{told.sequence.stream}-{round(sent_at * 1000):x}",
        body=raw.data.decode(errors="replace"),
        receipt=raw.reply,
        receive_count=told.num_delivered,
        sent_at=sent_at,
        attributes=attributes_of(raw.headers),
    )
