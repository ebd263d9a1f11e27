"""What a topic promises."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from queue_agent.cloud import Cloud, Deployment, Publication, Routing, Topic
from queue_agent.testing.cloud_contract.hooks import CloudHooks, all_unavailable, received
from queue_agent.testing.waiting import SOON
from queue_agent.wire.errors import Unavailable


@pytest.mark.asyncio
class TopicPromises(CloudHooks):
    @pytest.fixture
    def topic(self, cloud: Cloud, deployment: Deployment) -> Topic:
        """One that nobody listens to yet."""
        return cloud.topic(deployment.notification_topic)

    async def test_a_queue_gets_what_its_filter_lets_through_as_it_was_published(
        self, cloud: Cloud, deployment: Deployment
    ) -> None:
        jobs, mine = cloud.topic(deployment.job_topic), deployment.runtime_name
        await jobs.publish("for another", {"runtime": f"{mine}-not"})
        await jobs.publish("for nobody", {})
        await jobs.publish("größer", {"runtime": mine, "traceparent": "00-ü"})
        await jobs.publish("last", {"runtime": mine})
        messages = await received(cloud.queue(deployment.queue_url), 2)
        assert {message.body: message.attributes for message in messages} == {
            "größer": {"runtime": mine, "traceparent": "00-ü"},
            "last": {"runtime": mine},
        }

    async def test_it_tells_which_values_of_an_attribute_reach_a_queue(
        self, cloud: Cloud, deployment: Deployment
    ) -> None:
        jobs, mine = cloud.topic(deployment.job_topic), deployment.runtime_name
        routing = await jobs.routing("runtime")
        assert routing in {None, alone := Routing(frozenset({mine}))}
        async with jobs.subscribe():
            routing = await jobs.routing("runtime")
            # where jobs are kept for queues alone, those who listen do not count
            assert routing in {None, alone, Routing(alone.values, without=True, others=True)}

    async def test_subscribers_hear_what_their_filter_lets_through(self, topic: Topic) -> None:
        async with topic.subscribe({"id": ["mine", "mine-too"]}) as bodies:
            await topic.publish("not for me", {"id": "other"})
            await topic.publish("nor this", {})
            await topic.publish("for me", {"id": "mine", "status": "completed"})
            await topic.publish("for me, too", {"id": "mine-too"})
            assert await _heard(bodies, 2) == ["for me", "for me, too"]

    async def test_a_filter_of_two_attributes_wants_both(self, topic: Topic) -> None:
        async with topic.subscribe({"id": ["mine"], "status": ["completed"]}) as bodies:
            await topic.publish("half of it", {"id": "mine"})
            await topic.publish("another half", {"id": "mine", "status": "running"})
            await topic.publish("all of it", {"id": "mine", "status": "completed"})
            assert await _heard(bodies, 1) == ["all of it"]

    async def test_without_a_filter_subscribers_hear_everything(self, topic: Topic) -> None:
        async with topic.subscribe() as bodies:
            await topic.publish("größer", {"id": "a"})
            await topic.publish("plain", {})
            assert await _heard(bodies, 2) == ["größer", "plain"]

    async def test_every_subscriber_hears_it(self, topic: Topic) -> None:
        async with topic.subscribe() as one, topic.subscribe() as other:
            await topic.publish("x", {})
            for bodies in (one, other):
                assert await _heard(bodies, 1) == ["x"]

    async def test_subscribers_hear_what_is_published_from_then_on(self, topic: Topic) -> None:
        await topic.publish("before", {})
        async with topic.subscribe() as bodies:
            await topic.publish("after", {})
            assert await _heard(bodies, 1) == ["after"]

    async def test_publishing_goes_on_when_a_subscriber_has_left(self, topic: Topic) -> None:
        async with topic.subscribe() as staying:
            async with topic.subscribe():
                await topic.publish("a", {})
            await topic.publish("b", {})
            assert await _heard(staying, 2) == ["a", "b"]

    async def test_many_are_published_with_their_attributes(self, topic: Topic) -> None:
        many = [Publication(str(n), {"id": "even" if n % 2 == 0 else "odd"}) for n in range(25)]
        async with topic.subscribe({"id": ["odd"]}) as bodies:
            assert await topic.publish_many(many) == {}
            assert await _heard(bodies, 12) == sorted(str(n) for n in range(1, 25, 2))

    async def test_many_large_ones_are_published(self, topic: Topic) -> None:
        many = [Publication(name * (topic.size_limit // 2)) for name in "abc"]
        async with topic.subscribe() as bodies:
            assert await topic.publish_many(many) == {}
            assert [body[0] for body in await _heard(bodies, 3)] == ["a", "b", "c"]

    async def test_nothing_to_publish_is_nothing_to_do(self, topic: Topic) -> None:
        assert await topic.publish_many([]) == {}

    async def test_a_publication_of_the_largest_size_is_taken(self, topic: Topic) -> None:
        attributes = {"id": "mine"}
        room = topic.size_limit - Publication("", attributes).size
        async with topic.subscribe() as bodies:
            await topic.publish("x" * room, attributes)
            assert await _heard(bodies, 1) == ["x" * room]

    async def test_a_larger_one_is_refused(self, topic: Topic) -> None:
        with pytest.raises(Unavailable):
            await topic.publish("x" * (topic.size_limit + 1), {})

    async def test_a_topic_that_is_there_can_be_reached(self, topic: Topic) -> None:
        await topic.check()

    async def test_a_topic_out_of_reach_is_unavailable(
        self, unreachable: Cloud, deployment: Deployment
    ) -> None:
        topic = unreachable.topic(deployment.notification_topic)
        await all_unavailable(
            topic.publish("x", {}),
            topic.publish_many([Publication("x")]),
            topic.check(),
            _listen(topic),
        )


async def _heard(bodies: AsyncIterator[str], count: int) -> list[str]:
    """So many bodies; sorted, for clouds need not keep their order."""
    async with asyncio.timeout(SOON):
        return sorted([await anext(bodies) for _ in range(count)])


async def _listen(topic: Topic) -> None:
    async with topic.subscribe() as bodies:
        await anext(bodies)
