"""Whose turn it is among the tenants of a queue, and how his job comes before earlier ones.

All that waits is the consumer's, in the order of the stream. A job whose turn comes before that
of earlier ones is written anew, to the subject of the turns, which has a consumer of its own, and
then removed from its place: it lies in one of the two at any time, in both for a moment. The
copy's subject bears the number of its original, by which whoever was given that meanwhile knows.
"""

import bisect
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog
from nats.js.api import RawStreamMsg

from queue_agent.cloud.nats.addresses import NatsAddress
from queue_agent.cloud.nats.connection import Connection
from queue_agent.cloud.nats.listing import subjects
from queue_agent.cloud.nats.publishing import MESSAGE_ID, fits
from queue_agent.cloud.nats.subjects import tenants_subject, turns_subject
from queue_agent.wire.errors import ObjectNotFound, QueueAgentError

log = structlog.get_logger()

SENT: Final = "Queue-Agent-Sent"
"""A header of such copies alone: when the original came, seconds since the epoch."""

_LISTED: Final = 1.0
"""Seconds for which a list of who waits is good enough."""
_TRIES: Final = 16
"""Tenants at most that are looked for a job at once: of some all are being worked on."""
_REFUSED: Final = 60.0
"""Seconds for which nobody is put forward after that has failed."""


class Turns:
    """The tenants of one queue; jobs of nobody are one tenant's.

    Each agent goes round them by itself, from one chosen at random.
    """

    def __init__(
        self,
        connection: Connection,
        address: NatsAddress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._stream, self._consumer = address.stream, address.consumer
        self._queue = address.subject()
        self._clock = clock
        self._waiting: list[str] = []
        """Subjects that something is in, in order."""
        self._listed = self._refused = float("-inf")
        self._last: str | None = None
        """Whose turn it was."""

    @property
    def several(self) -> bool:
        """Whether several of them wait, as far as is known."""
        return len(self._waiting) > 1

    async def put_forward(self, count: int) -> int:
        """Write up to so many jobs anew whose turn comes before that of earlier ones.

        How many: 0 where the stream's own order is as good, or nothing waits. Never raises
        `QueueAgentError`: what cannot be put forward comes in the stream's order.
        """
        if self._clock() < self._refused:
            return 0
        try:
            return await self._put_forward(count)
        except QueueAgentError as error:
            log.warning("tenants do not take turns", queue=self._consumer, reason=error.message)
            self._refused = self._clock() + _REFUSED
            return 0

    async def was_put_forward(self, number: int) -> bool:
        """Whether there is a copy of the message of that number."""
        try:
            async with self._connection.using("look for a copy") as js:
                await js.get_last_msg(self._stream, turns_subject(self._queue, number))
        except ObjectNotFound:
            return False
        return True

    async def _put_forward(self, count: int) -> int:
        async with self._connection.using("read the consumer") as js:
            info = await js.consumer_info(self._stream, self._consumer)
        if not info.num_pending:
            self._waiting, self._listed = [], float("-inf")
            return 0
        reached = info.delivered.stream_seq if info.delivered else 0
        await self._list()
        done = 0
        for _ in range(_TRIES):
            if done == count or not self.several:
                break
            subject = self._next()
            job = await self._first(subject, reached)
            if job is None:
                self._waiting.remove(subject)
            elif job.seq == reached + 1 and not done:  # it comes next, anyway
                break
            else:
                done += await self._move(job)
        return done

    async def _list(self) -> None:
        """Who has something in the queue, were it only what is being worked on."""
        if self._clock() - self._listed < _LISTED:
            return
        place = tenants_subject(self._queue)
        found = await subjects(self._connection, "list who waits", self._stream, within=place)
        self._waiting = sorted([self._queue, *found])
        self._listed = self._clock()

    def _next(self) -> str:
        if self._last is None:
            self._last = random.choice(self._waiting)  # noqa: S311  no secret
        place = bisect.bisect_right(self._waiting, self._last)
        self._last = self._waiting[place % len(self._waiting)]
        return self._last

    async def _first(self, subject: str, reached: int) -> RawStreamMsg | None:
        """What comes first there of what nobody was given yet."""
        try:
            async with self._connection.using("look for a job") as js:
                return await js.get_msg(self._stream, reached + 1, subject, next=True)
        except ObjectNotFound:
            return None

    async def _move(self, job: RawStreamMsg) -> bool:
        """Whether it was; someone else may have been first, or it is as large as messages may be.

        It comes in the stream's order then.
        """
        number, sent = job.seq or 0, job.time.timestamp() if job.time else 0.0
        headers = {
            **{
                name: value
                for name, value in (job.headers or {}).items()
                if not name.lower().startswith("nats-")
            },
            MESSAGE_ID: f"turn-{message_id(number, sent)}",
            SENT: repr(sent),
        }
        if not fits(self._connection, job.data or b"", headers):
            return False
        async with self._connection.using("put a job forward") as js:
            subject = turns_subject(self._queue, number)
            written = await js.publish(subject, job.data or b"", headers=headers)
        with suppress(ObjectNotFound):  # someone else did
            async with self._connection.using("remove a job that was put forward") as js:
                await js.delete_msg(self._stream, number)
        return not written.duplicate


def message_id(number: int, sent: float) -> str:
    """What a message is known by: its number in the stream and when it came."""
    return f"{number}-{round(sent * 1000):x}"
