"""What a provider tells the contract of itself."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, ClassVar, Final

import httpx
import pytest_asyncio

from queue_agent.cloud import Cloud, Deployment, Message, Queue
from queue_agent.testing.waiting import SOON
from queue_agent.wire.errors import Unanswered, Unavailable

LONG: Final = 600.0
"""A lease that does not run out while a test goes on, in seconds."""


class CloudHooks:
    """To be given by the subclass: `deploy`, and two fixtures, closed at the end of a test.

    ``cloud`` is a client of the cloud, ``unreachable`` one whose calls reach nobody.
    """

    moves_dead_letters: ClassVar[bool] = True
    """Whether the broker moves what was delivered too often; else its receivers bury it."""

    async def deploy(
        self,
        cloud: Cloud,
        *,
        visibility_timeout: int = 30,
        max_receives: int | None = None,
        fifo: bool = False,
    ) -> Deployment:
        """Queue, topics and bucket that no other test has.

        The queue gets what is published to the job topic with the attribute ``runtime`` equal
        to the deployment's name, as it was published. With `max_receives` it has a dead-letter
        queue. With `fifo` queues and topics keep an order.
        """
        raise NotImplementedError

    async def pass_time(self, seconds: float) -> None:
        """Return when the cloud's time has gone on by so much."""
        await asyncio.sleep(seconds)

    async def fetch(self, presigned_url: str) -> tuple[bytes, str]:
        """What a presigned URL leads to, and its media type."""
        async with httpx.AsyncClient(timeout=SOON) as client:
            answer = await client.get(presigned_url)
        return answer.raise_for_status().content, answer.headers["content-type"]

    @pytest_asyncio.fixture
    async def deployment(self, cloud: Cloud) -> Deployment:
        """What most tests need: a queue without dead letters, topics, a bucket."""
        return await self.deploy(cloud)


async def received(queue: Queue, count: int = 1, *, lease: float = LONG) -> Sequence[Message]:
    """So many messages, as soon as they come."""
    found: list[Message] = []
    async with asyncio.timeout(SOON):
        while len(found) < count:
            found += await queue.receive(count - len(found), wait=5, visibility_timeout=lease)
    return found


async def all_unavailable(*calls: Coroutine[Any, Any, object]) -> None:
    """Each of the calls fails with the error that says: nothing was done, try again later."""
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, Unavailable), repr(outcome)
        assert not isinstance(outcome, Unanswered), repr(outcome)
        assert outcome.message
