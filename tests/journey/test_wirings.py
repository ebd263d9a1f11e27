"""Topics and buckets that are wired to the job queue and should not be, with whole agents."""

import asyncio
import json

import httpx

from harness import PATIENCE, Scene, until
from queue_agent.testing.process import ServerProcess


async def ignored(agent: ServerProcess, kind: str) -> float:
    """How many messages of a kind the agent has acknowledged without an answer."""
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        page = (await client.get(f"{agent.url}/metrics")).text
    rows = [line for line in page.splitlines() if "queue_agent_ignored_messages_total{" in line]
    return sum(float(row.rpartition(" ")[2]) for row in rows if f'kind="{kind}"' in row)


async def test_one_topic_for_jobs_and_notifications_is_no_circle(stage: Scene) -> None:
    topic = stage.cloud.topic(stage.deployment.job_topic)
    agent = stage.start_agent(QUEUE_AGENT_TOPIC_ARN=stage.deployment.job_topic)
    async with topic.subscribe() as bodies:
        for number in (1, 2):
            await stage.publish(stage.job(f"order-{number}"))

            async def came_back(number: int = number) -> bool:
                return await ignored(agent, "notification") == number

            await until(came_back, what="the notification as a message")
        async with asyncio.timeout(PATIENCE):
            heard = [json.loads(await anext(bodies)) for _ in range(4)]
    told = [(body["id"], body["status"]) for body in heard if "status" in body]
    assert told == [("order-1", "completed"), ("order-2", "completed")]
    assert not [key for key in await stage.bucket_keys() if key.startswith("quarantine/")]
    await stage.emptied()


async def test_a_bucket_that_tells_the_queue_of_its_objects_is_no_circle(stage: Scene) -> None:
    s3, sqs = await stage.cloud.client("s3"), await stage.cloud.client("sqs")
    answer = await sqs.get_queue_attributes(
        QueueUrl=stage.deployment.queue_url, AttributeNames=["QueueArn"]
    )
    events = {"QueueArn": answer["Attributes"]["QueueArn"], "Events": ["s3:ObjectCreated:*"]}
    await s3.put_bucket_notification_configuration(
        Bucket=stage.deployment.bucket,
        NotificationConfiguration={"QueueConfigurations": [events]},
    )
    agent = stage.start_agent()
    await stage.send("no JSON")
    await stage.publish(stage.job("order-1"))
    assert (await stage.answer("order-1"))["status"] == "completed"
    await stage.emptied()
    keys = await stage.bucket_keys()
    assert await ignored(agent, "storage_event") >= len(keys)
    assert len([key for key in keys if key.startswith("quarantine/")]) == 1
    assert sorted(one["status"] for one in stage.notifications) == ["completed", "failed"]
