"""What queues and topics promise that keep an order (FIFO)."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from queue_agent.cloud import Cloud, Deployment, Ordering, Publication, Queue, Topic
from queue_agent.testing.cloud_contract.hooks import LONG, CloudHooks, received
from queue_agent.testing.waiting import SOON


@pytest.mark.asyncio
class FifoPromises(CloudHooks):
    @pytest_asyncio.fixture
    async def in_order(self, cloud: Cloud) -> Deployment:
        """Topics and queues that keep an order."""
        return await self.deploy(cloud, max_receives=2, fifo=True)

    @pytest.fixture
    def line(self, cloud: Cloud, in_order: Deployment) -> Queue:
        return cloud.queue(in_order.queue_url)

    @pytest.fixture
    def news(self, cloud: Cloud, in_order: Deployment) -> Topic:
        return cloud.topic(in_order.notification_topic)

    async def test_a_group_is_delivered_in_order_and_told(self, line: Queue) -> None:
        for body in "abc":
            await line.send(body, {}, Ordering("one"))
        messages = await received(line, 3)
        assert [(message.body, message.group) for message in messages] == [
            (body, "one") for body in "abc"
        ]

    async def test_nothing_of_a_group_is_delivered_while_a_message_of_it_is(
        self, line: Queue
    ) -> None:
        for body, group in (("a1", "a"), ("a2", "a"), ("b1", "b")):
            await line.send(body, {}, Ordering(group))
        (first,) = await received(line)
        (other,) = await received(line)
        assert (first.body, other.body) == ("a1", "b1")
        assert await _at_once(line) == []
        await line.delete(first)
        assert [message.body for message in await received(line)] == ["a2"]

    async def test_a_message_given_back_comes_before_the_rest_of_its_group(
        self, line: Queue
    ) -> None:
        for body in ("first", "second"):
            await line.send(body, {}, Ordering("one"))
        (message,) = await received(line)
        await line.extend(message, 0)
        again = await received(line, 2)
        assert [message.body for message in again] == ["first", "second"]

    async def test_a_message_given_back_for_later_holds_up_its_group_alone(
        self, line: Queue
    ) -> None:
        for body in ("first", "second"):
            await line.send(body, {}, Ordering("one"))
        (message,) = await received(line)
        await line.extend(message, LONG)
        await line.send("other", {}, Ordering("two"))
        assert [message.body for message in await received(line)] == ["other"]
        assert await _at_once(line) == []

    async def test_without_a_group_no_message_holds_up_another(self, line: Queue) -> None:
        for body in ("a", "b"):
            await line.send(body, {})
        assert [(await received(line))[0].body for _ in range(2)] == ["a", "b"]

    async def test_what_is_sent_again_with_its_id_comes_once(self, line: Queue) -> None:
        once = Ordering("one")
        for ordering in (once, once, Ordering("one")):
            await line.send("x", {}, ordering)
        assert len(await received(line, 2)) == 2
        assert await _at_once(line) == []

    async def test_a_dead_letter_keeps_its_group(self, cloud: Cloud, in_order: Deployment) -> None:
        line = cloud.queue(in_order.queue_url)
        await line.send("x", {}, Ordering("one"))
        for _ in range(2):
            (message,) = await received(line)
            await line.extend(message, 0)
        assert await _at_once(line) == []
        assert in_order.dead_letter_queue_url is not None
        (dead,) = await received(cloud.queue(in_order.dead_letter_queue_url))
        assert (dead.body, dead.group) == ("x", "one")

    async def test_jobs_come_from_their_topic_with_their_groups(
        self, cloud: Cloud, in_order: Deployment
    ) -> None:
        jobs, attributes = cloud.topic(in_order.job_topic), {"runtime": in_order.runtime_name}
        await jobs.publish("plain", attributes)
        await jobs.publish("a", attributes, Ordering("one"))
        many = [Publication(body, attributes, Ordering("one")) for body in "bc"]
        assert await jobs.publish_many(many) == {}
        plain, *rest = await received(cloud.queue(in_order.queue_url), 4)
        assert (plain.body, plain.attributes) == ("plain", attributes)
        assert [(message.body, message.group) for message in rest] == [
            (body, "one") for body in "abc"
        ]

    async def test_jobs_published_again_with_their_ids_come_once(
        self, cloud: Cloud, in_order: Deployment
    ) -> None:
        jobs, attributes = cloud.topic(in_order.job_topic), {"runtime": in_order.runtime_name}
        many = [Publication("x", attributes, Ordering("one")) for _ in range(2)]
        for _ in range(2):
            assert await jobs.publish_many(many) == {}
            await jobs.publish("x", attributes, many[0].ordering)
        line = cloud.queue(in_order.queue_url)
        assert len(await received(line, 2)) == 2
        assert await _at_once(line) == []

    async def test_subscribers_hear_a_group_in_order(self, news: Topic) -> None:
        async with news.subscribe({"id": ["mine"]}) as bodies:
            await news.publish("other", {"id": "other"}, Ordering("other"))
            for body in "cab":
                await news.publish(body, {"id": "mine"}, Ordering("mine"))
            assert await _in_order(bodies, 3) == list("cab")

    async def test_any_text_may_name_a_group(self, news: Topic) -> None:
        groups = ("größe 1", "a\nb", "x" * 500, "ü" * 128)
        async with news.subscribe() as bodies:
            for group in groups:
                await news.publish(group, {}, Ordering(group))
            assert sorted(await _in_order(bodies, len(groups))) == sorted(groups)


async def _at_once(queue: Queue) -> Sequence[object]:
    """What can be had without waiting."""
    return list(await queue.receive(1, wait=0, visibility_timeout=LONG))


async def _in_order(bodies: AsyncIterator[str], count: int) -> list[str]:
    async with asyncio.timeout(SOON):
        return [await anext(bodies) for _ in range(count)]
