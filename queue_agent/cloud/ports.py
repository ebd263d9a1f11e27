"""The cloud as the agent sees it: a queue, a topic and a bucket (ports).

Providers implement these in a folder each (`queue_agent.cloud.aws`, `queue_agent.cloud.nats`)
and translate every foreign exception into `queue_agent.wire.errors`: `Unavailable` where trying
again may help (`Unanswered` where what was asked may have been done all the same), `LeaseLost`,
`ObjectNotFound` and `ObjectExists` where the name says so.
"""

import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Self

from queue_agent.media.asset import Asset
from queue_agent.tasks import together
from queue_agent.wire.errors import ObjectExists
from queue_agent.wire.publication import Ordering, Publication

Sink = Callable[[bytes], Awaitable[None]]
"""Takes an object's bytes, piece by piece."""

TO_BE_ANSWERED: Final = 10
"""So often more than allowed a message is delivered where its receivers bury it; one that has
ended each of them by then is a dead letter without an answer."""


@dataclass(frozen=True)
class Message:
    """What the queue delivers."""

    id: str
    body: str = field(repr=False)
    receipt: str = field(repr=False)
    receive_count: int = 1
    """How often it was delivered, this time included."""
    sent_at: float | None = None
    """When the publisher's message reached the queue, seconds since the epoch."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None
    """What it is kept in order with, where the queue keeps an order."""
    tenant: str | None = None
    """Whose it is, where the queue keeps no order and was told."""
    queue: str = ""
    """Which of several queues it came from, by what an agent calls them."""

    @property
    def ordering(self) -> Ordering:
        """The same place for the message where it is sent on; sent once if asked again."""
        return Ordering(self.group or "", self.id, self.tenant or "")


@dataclass(frozen=True)
class QueuePolicy:
    """What the queue itself prescribes."""

    visibility_timeout: float
    """Seconds a delivered message stays hidden from others."""
    max_receives: int | None = None
    """After so many deliveries it goes to the dead-letter queue; None where there is none.

    By `Queue.bury`, or by itself.
    """


@dataclass(frozen=True)
class Backlog:
    """How many messages a queue holds, about, and as it was moments ago.

    A message published, given back or acknowledged just now may not be counted yet: NATS tells
    its consumers of a message after it has acknowledged it, SQS counts within a minute. None
    waiting, seen once, is no proof that nothing is there.
    """

    waiting: int
    in_flight: int
    """Delivered and not yet acknowledged."""

    @classmethod
    async def of_all(cls, queues: Iterable["Queue"]) -> Self:
        """What they hold together.

        Raises:
            Unavailable: one of them does not tell.
        """
        told = await together(queue.backlog() for queue in queues)
        return cls(sum(one.waiting for one in told), sum(one.in_flight for one in told))


@dataclass(frozen=True)
class ListedObject:
    """What a listing says of an object."""

    key: str
    modified: float | None = None
    """When it was written, seconds since the epoch; None: the store does not tell."""
    size: int | None = None
    """Its bytes; None: the store does not tell."""


@dataclass(frozen=True)
class ObjectPart:
    """Some bytes of an object."""

    data: bytes = field(repr=False)
    total: int
    """How many the whole object has."""


@dataclass(frozen=True)
class Versioned:
    """An object, and which of its versions it is."""

    data: bytes = field(repr=False)
    version: str
    """Another one whenever the object was replaced by another."""


@dataclass(frozen=True)
class Routing:
    """Which publications the subscriptions of a topic take, by one attribute."""

    values: frozenset[str] = frozenset()
    """Of the attribute, those that filters name."""
    without: bool = False
    """Whether one takes what has other attributes and lacks this one."""
    others: bool = False
    """Whether one may take any value: it has no filter, or one that names none (a prefix)."""


class Queue(ABC):
    """The queue that jobs come from.

    One that keeps an order (FIFO) gives what was sent to a group in that order, and nothing of
    a group while a message of it is delivered, or given back for later.
    """

    @abstractmethod
    async def policy(self) -> QueuePolicy:
        """Ask the queue for its visibility timeout and redrive policy."""

    @abstractmethod
    async def receive(
        self, count: int, *, wait: float, visibility_timeout: float
    ) -> Sequence[Message]:
        """Up to `count` messages, waiting up to `wait` seconds for the first.

        `count` is at least 1; a provider may give fewer at once than the queue holds.
        """

    @abstractmethod
    async def extend(self, message: Message, seconds: float) -> None:
        """Hide the message for `seconds` from now; 0 gives it back at once.

        Raises:
            LeaseLost: the receipt is no longer valid.
        """

    @abstractmethod
    async def delete(self, message: Message) -> None:
        """Remove the message for good.

        Raises:
            LeaseLost: the receipt is no longer valid.
        """

    async def bury(self, message: Message) -> None:
        """Leave to the dead letters what was delivered as often as the queue allows, or oftener.

        Most brokers move it themselves instead of delivering it once more, so it is given back.
        Where they do not (NATS), this moves it, and what nobody has buried is delivered once
        more, its receive count beyond the most, so that its receiver may answer it before.

        Raises:
            LeaseLost: the receipt is no longer valid.
        """
        await self.extend(message, 0)

    @property
    def longest_delay(self) -> float:
        """Seconds for which it can keep back what is sent to it; 0: it cannot."""
        return 0.0

    @abstractmethod
    async def send(
        self,
        body: str,
        attributes: Mapping[str, str],
        ordering: Ordering | None = None,
        *,
        delay: float = 0.0,
    ) -> None:
        """Put a message into the queue, past any topic; it may come to lie there twice.

        Nobody gets it before the `delay` is over, in seconds, `longest_delay` at most.
        """

    @abstractmethod
    async def backlog(self) -> Backlog:
        """How much work the queue holds."""


class Topic(ABC):
    """The topic that notifications (or jobs) go to."""

    @abstractmethod
    async def publish(
        self, body: str, attributes: Mapping[str, str], ordering: Ordering | None = None
    ) -> None:
        """Publish text with string attributes that subscribers can filter by, at most once.

        Raises:
            Unanswered: it may have been taken; `Unavailable` of other kinds: it was not.
        """

    @property
    @abstractmethod
    def size_limit(self) -> int:
        """The largest `Publication.size` that the topic takes, in bytes."""

    @abstractmethod
    async def publish_many(self, publications: Sequence[Publication]) -> Mapping[int, str]:
        """Publish in as few requests as may be; the reason by place of what was not taken."""

    @abstractmethod
    async def check(self) -> None:
        """Raise `Unavailable` with the reason when the topic cannot be reached."""

    async def reaches(self, queue_url: str, publication: Publication) -> bool:
        """Whether a queue is subscribed that would be given such a publication.

        False where a provider cannot tell; raises `Unavailable` where it may not look.
        """
        del queue_url, publication
        return False

    async def routing(
        self, attribute: str, among: Mapping[str, str] | None = None
    ) -> Routing | None:
        """Who is subscribed, by the attribute; None where it cannot be told.

        Of the subscriptions, only those whose filters name these values, `among` all attributes.

        Raises:
            Unavailable: nobody may look, or it is not answered.
        """
        del attribute, among
        return None

    @abstractmethod
    def subscribe(
        self, filter_policy: Mapping[str, Sequence[str]] | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        """The bodies published from now on, through a queue made for it and removed after."""


class Bucket(ABC):
    """One bucket of the object storage."""

    name: str

    @abstractmethod
    async def read_into(self, key: str, sink: Sink, *, limit: int | None = None) -> None:
        """Hand the object's bytes to `sink`, piece by piece.

        Raises:
            ObjectNotFound: there is no such object.
            Rejected: it is larger than `limit` bytes (type ``reference_too_large``); the sink
                may have been given some of it.
        """

    async def read(self, key: str, *, limit: int | None = None) -> bytes:
        """The object's bytes; raises like `read_into`."""
        whole = io.BytesIO()

        async def keep(piece: bytes) -> None:
            whole.write(piece)

        await self.read_into(key, keep, limit=limit)
        return whole.getvalue()

    async def read_changed(
        self, key: str, known: str | None = None, *, limit: int | None = None
    ) -> Versioned | None:
        """The object's bytes, unless it has the version that is known; raises like `read`.

        Where a provider can tell that without sending the object, to ask often costs little.
        """
        data = await self.read(key, limit=limit)
        version = hashlib.sha256(data).hexdigest()
        return None if version == known else Versioned(data, version)

    @abstractmethod
    async def read_range(self, key: str, start: int, size: int) -> ObjectPart:
        """Up to `size` bytes of the object, the first of which is number `start`, from 0.

        Fewer where the object ends before, none where it ends before `start`.

        Raises:
            ObjectNotFound: there is no such object.
        """

    @abstractmethod
    async def write(
        self,
        key: str,
        data: bytes | Asset,
        *,
        media_type: str,
        create_only: bool = False,
        sha256: str | None = None,
    ) -> None:
        """Store an object; what lies in a file is read while it is sent.

        `sha256` is the digest of its bytes in hexadecimal digits, where the caller knows it.

        Raises:
            ObjectExists: `create_only` was asked for and the object exists.
        """

    @abstractmethod
    async def exists(self, key: str) -> bool:
        """Whether there is such an object."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Remove the object; one that is not there is no error."""

    @abstractmethod
    async def keys(self, prefix: str, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Up to `limit` (at most 1000) keys with the prefix, in order, those after `after`."""

    async def listing(
        self, prefix: str, *, after: str = "", limit: int = 1000
    ) -> Sequence[ListedObject]:
        """As `keys`, with what a provider tells beside them."""
        return [ListedObject(key) for key in await self.keys(prefix, after=after, limit=limit)]

    async def creates_once(self, key: str) -> bool:
        """Whether one create of a key wins and all others are refused, by the store itself.

        It is tried out with the key, which nobody may use and which is removed. A bucket that
        was seen to take creates of what exists looks before each from then on: of two at the
        same moment both may win.
        """
        await self.write(key, b"", media_type="text/plain", create_only=True)
        try:
            await self.write(key, b"", media_type="text/plain", create_only=True)
        except ObjectExists:
            return True
        finally:
            await self.delete(key)
        return False

    async def longest_link(self) -> float | None:
        """Seconds that a link signed now works at most, whatever is asked for; None: no bound.

        0 where the store has no links.
        """
        return None

    @abstractmethod
    async def presign(self, key: str, *, seconds: float) -> str | None:
        """A URL by which anyone can read the object for so long, or for the longest time.

        None where the store has no such links.
        """

    async def tells(self, queue_url: str) -> bool:
        """Whether events of its objects go to a queue; as `Topic.reaches` otherwise."""
        del queue_url
        return False

    def url(self, key: str) -> str:
        """The object's address as publishers and subscribers write it."""
        return f"s3://{self.name}/{key}"


class Cloud(ABC):
    """One provider's services; shares a client per service among all it hands out."""

    @abstractmethod
    def queue(self, url: str) -> Queue:
        """A queue by its address."""

    @abstractmethod
    def topic(self, name: str) -> Topic:
        """A topic by its address."""

    @abstractmethod
    def bucket(self, name: str) -> Bucket:
        """A bucket by its name."""

    @abstractmethod
    def now(self) -> float:
        """Seconds since the epoch by the cloud's own clock, within a second or two.

        This machine's, while the cloud has not told its time.
        """

    async def durability(self, addresses: Sequence[str], *, bucket: str | None = None) -> str:
        """What may be lost of what queues, topics and the bucket have acknowledged, in words.

        Empty: nothing known.

        Raises:
            Unavailable: they could not be asked.
        """
        del addresses, bucket
        return ""

    async def left_listeners(self, *, age: float) -> Sequence[str]:
        """What subscriptions made more than `age` seconds ago have left that nobody listens by.

        And subscriptions, of any age, that lead nowhere.
        A provider whose subscriptions end with their process has none.
        """
        del age
        return ()

    async def remove_listener(self, name: str) -> None:
        """Remove one of those, and its subscription; one that is gone already is no error."""
        del name

    @abstractmethod
    async def aclose(self) -> None:
        """Close all connections."""
