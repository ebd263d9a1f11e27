"""What topics and queues without an order promise of tenants, where queues may be fair."""

import pytest

from queue_agent.cloud import Cloud, Deployment, Ordering, Publication
from queue_agent.testing.cloud_contract.hooks import CloudHooks, received


@pytest.mark.asyncio
class TenantPromises(CloudHooks):
    async def test_jobs_come_from_their_topic_with_their_tenants(
        self, cloud: Cloud, deployment: Deployment
    ) -> None:
        jobs, attributes = cloud.topic(deployment.job_topic), {"runtime": deployment.runtime_name}
        await jobs.publish("a", attributes, Ordering("a", tenant="one"))
        many = [Publication("b", attributes, Ordering("b", tenant="one"))]
        many.append(Publication("c", attributes, Ordering("c")))
        assert await jobs.publish_many(many) == {}
        messages = await received(cloud.queue(deployment.queue_url), 3)
        found = sorted((message.body, message.tenant, message.group) for message in messages)
        assert found == [("a", "one", None), ("b", "one", None), ("c", None, None)]

    async def test_no_message_of_a_tenant_holds_up_another(
        self, cloud: Cloud, deployment: Deployment
    ) -> None:
        queue = cloud.queue(deployment.queue_url)
        for body in ("a", "b"):
            await queue.send(body, {}, Ordering(tenant="one"))
        assert sorted([(await received(queue))[0].body for _ in range(2)]) == ["a", "b"]

    async def test_any_text_may_name_a_tenant(self, cloud: Cloud, deployment: Deployment) -> None:
        queue = cloud.queue(deployment.queue_url)
        for name in ("größe 1", "a b", "x" * 128):
            await queue.send(name, {}, Ordering(tenant=name))
        messages = await received(queue, 3)
        assert len({message.tenant for message in messages}) == len(messages)
        assert all(message.tenant for message in messages)

    async def test_a_message_that_is_sent_on_keeps_its_tenant(
        self, cloud: Cloud, deployment: Deployment
    ) -> None:
        queue = cloud.queue(deployment.queue_url)
        await queue.send("x", {}, Ordering(tenant="one"))
        (message,) = await received(queue)
        await queue.send(message.body, {}, message.ordering)
        (again,) = await received(queue)
        assert again.tenant == "one"
