"""A topic in memory."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace

from queue_agent.cloud.memory.clock import Clock, SystemClock
from queue_agent.cloud.memory.faults import Faults
from queue_agent.cloud.memory.queue import MemoryQueue
from queue_agent.cloud.memory.repetitions import Repetitions
from queue_agent.cloud.ports import Routing, Topic
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.publication import Ordering, Publication

Condition = str | Mapping[str, str | bool | Sequence[str]]
"""An exact value, or ``{"prefix": …}``, ``{"anything-but": …}`` or ``{"exists": …}``."""
FilterPolicy = Mapping[str, Sequence[Condition]]
"""What each of the named attributes must be: any of its conditions.

These are SNS's rules for string attributes; numbers, suffixes, addresses and bodies cannot be
filtered by: https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html
"""


@dataclass(frozen=True)
class _Subscription:
    policy: FilterPolicy
    deliver: Callable[[Publication], None]


class MemoryTopic(Topic):
    """Hands what is published to all its subscriptions, at once.

    With `fifo` it takes what is published with the same deduplication id once.
    """

    def __init__(
        self,
        name: str,
        faults: Faults | None = None,
        *,
        size_limit: int = 262_144,
        fifo: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.published: list[Publication] = []
        """All that was taken, in order, whether or not anyone subscribed to it."""
        self._name = name
        self._faults = faults or Faults()
        self._size_limit = size_limit
        self._fifo = fifo
        self._repetitions = Repetitions(clock or SystemClock())
        self._subscriptions: list[_Subscription] = []
        self._numbers = itertools.count(1)

    async def publish(
        self, body: str, attributes: Mapping[str, str], ordering: Ordering | None = None
    ) -> None:
        async with self._faults.around("topic.publish", body):
            self._take(Publication(body, dict(attributes), ordering or Ordering()))

    @property
    def size_limit(self) -> int:
        return self._size_limit

    async def publish_many(self, publications: Sequence[Publication]) -> Mapping[int, str]:
        failed: dict[int, str] = {}
        async with self._faults.around("topic.publish_many"):
            for place, publication in enumerate(publications):
                try:
                    await self.publish(
                        publication.body, publication.attributes, publication.ordering
                    )
                except Unavailable as error:
                    failed[place] = error.message
        return failed

    async def check(self) -> None:
        async with self._faults.around("topic.check"):
            """It can always be reached."""

    async def routing(self, attribute: str, among: Mapping[str, str] | None = None) -> Routing:
        async with self._faults.around("topic.routing"):
            policies = [
                subscription.policy
                for subscription in self._subscriptions
                if all(
                    value in subscription.policy.get(name, ())
                    for name, value in (among or {}).items()
                )
            ]
        wanted = [policy.get(attribute) for policy in policies]
        conditions = [one for several in wanted for one in several or ()]
        return Routing(
            frozenset(one for one in conditions if isinstance(one, str)),
            without=None in wanted or {"exists": False} in conditions,
            others=None in wanted
            or any(not isinstance(one, str) and one != {"exists": False} for one in conditions),
        )

    def subscribe(
        self, filter_policy: FilterPolicy | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        return self._listening(filter_policy or {})

    def subscribe_queue(
        self,
        queue: MemoryQueue,
        filter_policy: FilterPolicy | None = None,
        *,
        raw_delivery: bool = False,
    ) -> None:
        """Let the queue have what is published from now on.

        With `raw_delivery` messages are what was published, with its attributes; else their
        body is an envelope as SNS makes it, which holds both.
        """
        if queue.fifo and not self._fifo:
            raise ValueError("a queue that keeps an order wants a topic that does")

        def deliver(publication: Publication) -> None:
            ordering = publication.ordering
            if self._fifo:  # which tells standard queues nothing
                ordering = replace(ordering, tenant="")
            if raw_delivery:
                queue.put(publication.body, publication.attributes, ordering)
            else:
                queue.put(self._envelope(publication), {}, ordering)

        self._subscriptions.append(_Subscription(filter_policy or {}, deliver))

    @asynccontextmanager
    async def _listening(self, policy: FilterPolicy) -> AsyncIterator[AsyncIterator[str]]:
        heard: asyncio.Queue[str] = asyncio.Queue()
        subscription = _Subscription(policy, lambda publication: heard.put_nowait(publication.body))
        async with self._faults.around("topic.subscribe"):
            self._subscriptions.append(subscription)
        try:
            yield _all(heard)
        finally:
            self._subscriptions.remove(subscription)

    def _take(self, publication: Publication) -> None:
        if publication.size > self._size_limit:
            raise Unavailable(
                f"Could not publish to the topic: more than {self._size_limit} bytes.",
                type="cloud_unavailable",
            )
        if self._fifo and self._repetitions.is_one(publication.ordering):
            return
        self.published.append(publication)
        for subscription in self._subscriptions:
            if lets_through(subscription.policy, publication.attributes):
                subscription.deliver(publication)

    def _envelope(self, publication: Publication) -> str:
        """https://docs.aws.amazon.com/sns/latest/dg/sns-sqs-as-subscriber.html"""
        return json.dumps(
            {
                "Type": "Notification",
                "MessageId": f"{self._name}-{next(self._numbers)}",
                "TopicArn": self._name,
                "Message": publication.body,
                "MessageAttributes": {
                    name: {"Type": "String", "Value": value}
                    for name, value in publication.attributes.items()
                },
            }
        )


def lets_through(policy: FilterPolicy, attributes: Mapping[str, str]) -> bool:
    """Whether a publication with these attributes passes the filter."""
    return all(
        any(_holds(condition, attributes.get(name)) for condition in conditions)
        for name, conditions in policy.items()
    )


def _holds(condition: Condition, value: str | None) -> bool:
    match condition:
        case str():
            return value == condition
        case {"exists": bool(wanted)}:
            return (value is not None) == wanted
        case {"prefix": str(prefix)}:
            return value is not None and value.startswith(prefix)
        case {"anything-but": str(other)}:
            return value is not None and value != other
        case {"anything-but": others} if not isinstance(others, bool):
            return value is not None and value not in others
    raise ValueError(f"a condition that a topic in memory does not know: {condition}")


async def _all(heard: asyncio.Queue[str]) -> AsyncIterator[str]:
    while True:
        yield await heard.get()
