"""A subscription that is cancelled while it is being made leaves nothing."""

import asyncio
from typing import Any

import pytest

from queue_agent.cloud.aws.subscription import subscription

TOPIC = "arn:aws:sns:eu-central-1:123456789012:notifications"
STEPS = ("create_queue", "get_queue_attributes", "set_queue_attributes", "subscribe")


class SlowServices:
    """SQS and SNS, of which one call is answered only when the test lets it be."""

    def __init__(self, slow: str) -> None:
        self.slow = slow
        self.asked, self.answer = asyncio.Event(), asyncio.Event()
        self.made: set[str] = set()

    async def client(self, _: str) -> Any:
        return self

    async def _reach(self, step: str) -> None:
        if step == self.slow:
            self.asked.set()
            await self.answer.wait()

    async def create_queue(self, **_: Any) -> dict[str, str]:
        await self._reach("create_queue")
        self.made.add("queue")
        return {"QueueUrl": "url"}

    async def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
        await self._reach("get_queue_attributes")
        return {"Attributes": {"QueueArn": "arn"}}

    async def set_queue_attributes(self, **_: Any) -> None:
        await self._reach("set_queue_attributes")

    async def subscribe(self, **_: Any) -> dict[str, str]:
        await self._reach("subscribe")
        self.made.add("subscription")
        return {"SubscriptionArn": "arn"}

    async def unsubscribe(self, **_: Any) -> None:
        self.made.remove("subscription")

    async def delete_queue(self, **_: Any) -> None:
        self.made.remove("queue")


@pytest.mark.parametrize("step", STEPS)
async def test_what_was_made_when_it_was_cancelled_is_removed(step: str) -> None:
    services = SlowServices(step)

    async def listen() -> None:
        async with subscription(services.client, TOPIC, None):
            raise AssertionError("it was cancelled before")

    listening = asyncio.create_task(listen())
    await services.asked.wait()
    listening.cancel()
    await asyncio.sleep(0)
    services.answer.set()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert services.made == set()
