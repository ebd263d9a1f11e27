"""What a queue promises."""

import asyncio

import pytest

from queue_agent.cloud import Cloud, Deployment, Message, Queue
from queue_agent.cloud.ports import TO_BE_ANSWERED
from queue_agent.testing.cloud_contract.hooks import (
    LONG,
    CloudHooks,
    all_unavailable,
    received,
)
from queue_agent.testing.waiting import comes_to_hold
from queue_agent.wire.errors import LeaseLost


@pytest.mark.asyncio
class QueuePromises(CloudHooks):
    @pytest.fixture
    def queue(self, cloud: Cloud, deployment: Deployment) -> Queue:
        return cloud.queue(deployment.queue_url)

    async def test_what_is_sent_to_a_queue_arrives_as_it_was(self, queue: Queue) -> None:
        attributes = {"runtime": "mine", "traceparent": "00-ü"}
        await queue.send('{"prompt": "größer\n"}', attributes)
        (message,) = await received(queue)
        assert message.body == '{"prompt": "größer\n"}'
        assert message.attributes == attributes
        assert message.receive_count == 1
        assert message.id

    async def test_messages_are_dated_by_the_clock_that_the_cloud_tells(
        self, cloud: Cloud, queue: Queue
    ) -> None:
        await queue.send("x", {})
        (message,) = await received(queue)
        assert message.sent_at is not None
        assert abs(cloud.now() - message.sent_at) < 30

    async def test_a_message_without_attributes_arrives_without_any(self, queue: Queue) -> None:
        await queue.send("x", {})
        (message,) = await received(queue)
        assert message.attributes == {}

    async def test_what_is_sent_with_a_delay_comes_when_that_is_over_as_if_never_seen(
        self, queue: Queue
    ) -> None:
        if not queue.longest_delay:
            pytest.skip("the queue has no delays")
        await queue.send("x", {}, delay=2)
        assert await _visible(queue) == []
        await self.pass_time(2)
        (message,) = await received(queue)
        assert (message.body, message.receive_count) == ("x", 1)

    async def test_a_delivered_message_is_hidden_from_others(self, queue: Queue) -> None:
        await queue.send("x", {})
        await received(queue)
        assert await _visible(queue) == []

    async def test_a_message_whose_lease_has_run_out_is_delivered_again(self, queue: Queue) -> None:
        await queue.send("x", {})
        (first,) = await received(queue, lease=1)
        await self.pass_time(1)
        (again,) = await received(queue)
        assert (again.id, again.body, again.receive_count) == (first.id, "x", 2)
        assert again.sent_at == first.sent_at
        assert again.sent_at is not None

    async def test_a_lease_can_be_extended(self, queue: Queue) -> None:
        lease = 5
        await queue.send("x", {})
        (message,) = await received(queue, lease=lease)
        await queue.extend(message, LONG)
        await self.pass_time(lease)
        assert await _visible(queue) == []
        await queue.extend(message, LONG)

    async def test_a_message_given_back_is_delivered_at_once(self, queue: Queue) -> None:
        await queue.send("x", {})
        (message,) = await received(queue)
        await queue.extend(message, 0)
        (again,) = await received(queue)
        assert (again.id, again.receive_count) == (message.id, 2)

    async def test_a_message_given_back_for_later_is_delivered_then(self, queue: Queue) -> None:
        await queue.send("x", {})
        (message,) = await received(queue)
        await queue.extend(message, LONG)
        assert await _visible(queue) == []
        await queue.extend(message, 1)
        await self.pass_time(1)
        assert len(await received(queue)) == 1

    async def test_a_deleted_message_never_comes_back(self, queue: Queue) -> None:
        await queue.send("x", {})
        (message,) = await received(queue, lease=1)
        await queue.delete(message)
        await self.pass_time(1)
        assert await _visible(queue) == []
        await comes_to_hold(queue, 0)

    async def test_what_is_deleted_cannot_be_extended(self, queue: Queue) -> None:
        await queue.send("x", {})
        (message,) = await received(queue)
        await queue.delete(message)
        with pytest.raises(LeaseLost):
            await queue.extend(message, LONG)

    async def test_who_has_lost_a_message_to_another_cannot_extend_it(self, queue: Queue) -> None:
        await queue.send("x", {})
        (first,) = await received(queue, lease=1)
        await self.pass_time(1)
        (again,) = await received(queue)
        with pytest.raises(LeaseLost):
            await queue.extend(first, LONG)
        await queue.extend(again, LONG)

    async def test_one_lost_lease_does_not_concern_other_messages(self, queue: Queue) -> None:
        for body in ("kept", "gone"):
            await queue.send(body, {})
        messages = {message.body: message for message in await received(queue, 2)}
        await queue.delete(messages["gone"])
        kept, gone = await asyncio.gather(
            queue.extend(messages["kept"], LONG),
            queue.extend(messages["gone"], LONG),
            return_exceptions=True,
        )
        assert kept is None
        assert isinstance(gone, LeaseLost)

    async def test_a_poll_waits_for_a_message(self, queue: Queue) -> None:
        poll = asyncio.create_task(queue.receive(1, wait=20, visibility_timeout=LONG))
        await asyncio.sleep(0)
        await queue.send("x", {})
        assert [message.body for message in await poll] == ["x"]

    async def test_a_poll_of_an_empty_queue_ends(self, queue: Queue) -> None:
        poll = asyncio.create_task(queue.receive(1, wait=1, visibility_timeout=LONG))
        await asyncio.sleep(0)
        await self.pass_time(1)
        assert list(await poll) == []

    async def test_a_poll_that_is_given_up_loses_no_message(self, queue: Queue) -> None:
        poll = asyncio.create_task(queue.receive(1, wait=20, visibility_timeout=1))
        await asyncio.sleep(0)
        poll.cancel()
        await asyncio.wait({poll})
        await queue.send("x", {})
        assert len(await received(queue)) == 1

    async def test_no_more_is_given_than_was_asked_for(self, queue: Queue) -> None:
        for body in "abc":
            await queue.send(body, {})
        assert len(await queue.receive(2, wait=5, visibility_timeout=LONG)) <= 2

    async def test_more_may_be_asked_for_than_is_given_at_once(self, queue: Queue) -> None:
        for number in range(12):
            await queue.send(str(number), {})
        assert {message.body for message in await received(queue, 12)} == set(map(str, range(12)))

    async def test_each_message_goes_to_one_of_those_who_ask(self, queue: Queue) -> None:
        for body in "abcd":
            await queue.send(body, {})
        one, other = await asyncio.gather(received(queue, 2), received(queue, 2))
        assert sorted(message.body for message in [*one, *other]) == list("abcd")

    async def test_many_can_be_deleted_at_once(self, queue: Queue) -> None:
        for number in range(12):
            await queue.send(str(number), {})
        messages = await received(queue, 12)
        await asyncio.gather(*(queue.extend(message, LONG) for message in messages))
        await asyncio.gather(*(queue.delete(message) for message in messages))
        await comes_to_hold(queue, 0)

    async def test_a_queue_tells_what_it_prescribes(self, cloud: Cloud) -> None:
        deployment = await self.deploy(cloud, visibility_timeout=45, max_receives=7)
        policy = await cloud.queue(deployment.queue_url).policy()
        assert (policy.visibility_timeout, policy.max_receives) == (45, 7)

    async def test_a_queue_without_dead_letters_says_so(self, queue: Queue) -> None:
        assert (await queue.policy()).max_receives is None

    async def test_a_message_delivered_too_often_becomes_a_dead_letter(self, cloud: Cloud) -> None:
        deployment = await self.deploy(cloud, max_receives=2)
        queue = cloud.queue(deployment.queue_url)
        await queue.send("x", {"runtime": "mine"})
        deliveries = 2 if self.moves_dead_letters else 2 + TO_BE_ANSWERED
        for count in range(1, deliveries + 1):
            (message,) = await received(queue)
            assert message.receive_count == count
            await queue.extend(message, 0)
        await _is_buried(cloud, deployment)

    async def test_what_is_buried_becomes_a_dead_letter(self, cloud: Cloud) -> None:
        """By its last receiver, or by a later one where there may be."""
        deployment = await self.deploy(cloud, max_receives=2)
        queue = cloud.queue(deployment.queue_url)
        await queue.send("x", {"runtime": "mine"})
        for _ in range(1 if self.moves_dead_letters else 2):
            (message,) = await received(queue)
            await queue.extend(message, 0)
        (message,) = await received(queue)
        await queue.bury(message)
        await _is_buried(cloud, deployment)

    async def test_only_who_holds_a_message_can_bury_it(self, cloud: Cloud) -> None:
        if self.moves_dead_letters:
            pytest.skip("it is given back, of which others tell")
        deployment = await self.deploy(cloud, visibility_timeout=1, max_receives=1)
        queue = cloud.queue(deployment.queue_url)
        await queue.send("x", {"runtime": "mine"})
        (message,) = await received(queue, lease=1)
        await self.pass_time(1.5)
        with pytest.raises(LeaseLost):
            await queue.bury(message)

    async def test_a_queue_tells_how_much_it_holds(self, queue: Queue) -> None:
        for body in "abc":
            await queue.send(body, {})
        await received(queue)
        await comes_to_hold(queue, 2, 1)

    async def test_a_queue_out_of_reach_is_unavailable(
        self, unreachable: Cloud, deployment: Deployment
    ) -> None:
        queue = unreachable.queue(deployment.queue_url)
        message = Message(id="id", body="x", receipt="receipt")
        await all_unavailable(
            queue.policy(),
            queue.receive(1, wait=0, visibility_timeout=30),
            queue.extend(message, 30),
            queue.delete(message),
            queue.bury(message),
            queue.send("x", {}),
            queue.backlog(),
        )


async def _is_buried(cloud: Cloud, deployment: Deployment) -> None:
    """Nobody gets the message that was sent as ``x`` any more, but from the dead letters."""
    assert await _visible(cloud.queue(deployment.queue_url)) == []
    assert deployment.dead_letter_queue_url is not None
    (dead,) = await received(cloud.queue(deployment.dead_letter_queue_url))
    assert (dead.body, dead.attributes) == ("x", {"runtime": "mine"})


async def _visible(queue: Queue) -> list[Message]:
    """What can be had without waiting."""
    return list(await queue.receive(1, wait=0, visibility_timeout=LONG))
